/*
 * A publisher's half: writes a PublishRequest (proto/publish.proto) in
 * protobuf's wire format and posts it.
 */

export const PHASES = {
    PHASE_UNSPECIFIED: 0,
    PHASE_START: 1,
    PHASE_DELTA: 2,
    PHASE_END: 3,
    PHASE_ERROR: 4
};

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;

const utf8 = new TextEncoder();


/* a list of bytes that grows: what is nested is written first, then wrapped */

function varint(out, number)
{
    let n = BigInt(number);

    while (n > 127n) {
        out.push(Number(n & 127n) | 128);
        n >>= 7n;
    }

    out.push(Number(n));
}


function field(out, number, type)
{
    varint(out, number << 3 | type);
}


function bytes(out, number, data)
{
    field(out, number, BYTES);
    varint(out, data.length);

    for (const byte of data) {
        out.push(byte);
    }
}


function string(out, number, text)
{
    bytes(out, number, utf8.encode(text));
}


/* google.protobuf.Value */

function value(json)
{
    const out = [];

    if (json === null || json === undefined) {
        field(out, 1, VARINT);
        varint(out, 0);

    } else if (typeof json === "number") {
        const double = new DataView(new ArrayBuffer(8));

        double.setFloat64(0, json, true);
        field(out, 2, FIXED64);
        out.push(...new Uint8Array(double.buffer));

    } else if (typeof json === "string") {
        string(out, 3, json);

    } else if (typeof json === "boolean") {
        field(out, 4, VARINT);
        varint(out, json ? 1 : 0);

    } else if (Array.isArray(json)) {
        const list = [];

        for (const item of json) {
            bytes(list, 1, value(item));
        }

        bytes(out, 6, list);

    } else {
        bytes(out, 5, struct(json));
    }

    return out;
}


/* google.protobuf.Struct: a map is a repeated pair of key and value */

function struct(object)
{
    const out = [];

    for (const [key, member] of Object.entries(object)) {
        const pair = [];

        string(pair, 1, key);
        bytes(pair, 2, value(member));
        bytes(out, 1, pair);
    }

    return out;
}


/* google.protobuf.Timestamp */

function timestamp(ms)
{
    const out = [];

    field(out, 1, VARINT);
    varint(out, Math.floor(ms / 1000));
    field(out, 2, VARINT);
    varint(out, Math.floor(ms % 1000) * 1000000);

    return out;
}


/*
 * Returns the bytes of a message: {channelId, messageId, phase, sequence,
 * payload}; phase is a name of PHASES, payload an object or undefined.
 */

export function encode(message)
{
    const out = [];

    string(out, 1, message.channelId);
    string(out, 2, message.messageId);
    bytes(out, 3, timestamp(Date.now()));
    field(out, 4, VARINT);
    varint(out, PHASES[message.phase]);
    field(out, 5, VARINT);
    varint(out, message.sequence);

    if (message.payload !== undefined) {
        bytes(out, 6, struct(message.payload));
    }

    return new Uint8Array(out);
}


/*
 * Posts a message.  A full rate limit is waited for (Retry-After, within
 * reason); every other answer is the caller's: {status, text}.
 */

export async function publish(url, token, message, tries = 5)
{
    for (;;) {
        const response = await fetch(url, {
            method: "POST",
            headers: {
                "Content-Type": "application/x-protobuf",
                "Authorization": "Bearer " + token
            },
            body: encode(message)
        });

        const text = await response.text();

        if (response.status !== 429 || --tries === 0) {
            return { status: response.status, text: text };
        }

        const seconds = Number(response.headers.get("Retry-After")) || 1;

        await new Promise((done) => setTimeout(done, seconds * 1000));
    }
}
