/*
 * The demo page: one channel, published to and watched at the same time.
 * demo.json comes from demo/run: the URLs, a token to publish, and channels,
 * each with the token that opens it.
 */

import { publish } from "./publish.js";
import { Subscription } from "./subscribe.js";

const SAMPLE = "This answer was published one word at a time. Every word is a "
    + "message of its own: this page writes it as protobuf and posts it, NGINX "
    + "checks it and adds it to a Redis stream, and the same NGINX sends it back "
    + "as a Server-Sent Event to everybody who watches the channel.\n\n"
    + "Close the connection in the middle, wait for a moment and connect again: "
    + "nothing is lost and nothing comes twice, because the last event ID that "
    + "the client saw tells where to go on. Open a second tab to see that late "
    + "comers get the whole answer. When the last word is there, an END message "
    + "closes the stream.";

/* 20 messages a second and channel is what conduit_publish_rate allows */
const WORD_INTERVAL = 70;

const MAX_ROWS = 500;

const STATES = {
    connecting: "connecting",
    open: "connected",
    waiting: "lost, reconnecting",
    closed: "disconnected",
    ended: "stream has ended",
    refused: "refused by the server"
};

const $ = (id) => document.getElementById(id);

let demo;               /* demo.json */
let channel;            /* {channel_id, token} */
let sub;
let state = "closed";
let playing = 0;        /* the number of the play under way, or 0 */
let plays = 0;
let sequence = 0;       /* of the last message published or received */
let received;           /* sequence of the last event */
let latencies = [];
let events = 0;
let opened = 0;         /* when the connection was, in ms */


/* --- what is shown --- */

function notice(text)
{
    $("notice").textContent = text;
    $("notice").hidden = !text;
}


function reply(text, bad)
{
    $("reply").textContent = text;
    $("reply").toggleAttribute("data-bad", Boolean(bad));
}


function buttons()
{
    const ended = (state === "ended");

    $("play").textContent = playing ? "Playing…" : "Play a sample answer";
    $("play").disabled = playing !== 0 || ended;
    $("send").disabled = ended;
    $("toggle").disabled = ended || !sub;
    $("toggle").textContent = state === "closed" || state === "refused"
                              ? "Reconnect" : "Disconnect";
    $("fresh").disabled = !demo;
    $("fresh").classList.toggle("primary", ended);
    $("play").classList.toggle("primary", !ended);
}


function showState(name)
{
    state = name;
    $("state").dataset.state = name;
    $("state-text").textContent = STATES[name];
    $("reconnects").textContent = Math.max(0, sub.connections - 1);
    $("text").toggleAttribute("data-writing", events > 0 && name !== "ended");
    buttons();
}


function append(cells, className)
{
    const row = document.createElement("tr");
    const table = $("table");
    const follow = table.scrollTop + table.clientHeight
                   > table.scrollHeight - 24;

    row.className = className || "";
    row.append(...cells);
    $("rows").append(row);

    if ($("rows").childElementCount > MAX_ROWS) {
        $("rows").firstElementChild.remove();
    }

    if (follow) {
        table.scrollTop = table.scrollHeight;
    }
}


function cell(text, className)
{
    const td = document.createElement("td");

    td.textContent = text;
    td.className = className || "";

    return td;
}


function note(text)
{
    const td = cell(text);

    td.colSpan = 5;
    append([td], "note");
}


function write(text, className)
{
    const span = document.createElement("span");
    const paper = $("paper");
    const follow = paper.scrollTop + paper.clientHeight
                   > paper.scrollHeight - 40;

    span.textContent = text;
    span.className = className || "";
    $("hint").hidden = true;
    $("text").append(span);

    if (follow) {
        paper.scrollTop = paper.scrollHeight;
    }
}


function clear()
{
    $("text").replaceChildren();
    $("rows").replaceChildren();
    $("hint").hidden = false;
    $("order").textContent = "no events yet";
    $("order").removeAttribute("data-bad");

    for (const id of ["last", "median", "cursor"]) {
        $(id).textContent = "–";
    }

    $("count").textContent = "0";
    $("reconnects").textContent = "0";
}


function milliseconds(number)
{
    return number + " ms";
}


/* --- the client --- */

function textOf(payload)
{
    if (payload === null) {
        return "";
    }

    return typeof payload.value === "string" ? payload.value
                                             : JSON.stringify(payload);
}


function checkOrder(number)
{
    const badge = $("order");

    if (received !== undefined && number !== received + 1) {
        badge.textContent = "sequence " + received + " is followed by " + number;
        badge.toggleAttribute("data-bad", true);

    } else if (!badge.hasAttribute("data-bad")) {
        badge.textContent = "all in order, none missing";
    }

    received = number;
}


function showEvent(event)
{
    const data = event.data;
    const stored = Number(event.id.split("-")[0]);
    const latency = Math.max(0, Date.now() - stored);

    /* what was there before this connection says nothing about delivery */

    const replayed = (stored < opened);

    events++;
    sequence = Math.max(sequence, data.sequence);
    checkOrder(data.sequence);

    if (data.phase === "PHASE_DELTA") {
        write(textOf(data.payload));

    } else if (data.phase === "PHASE_ERROR") {
        write("\n" + (textOf(data.payload) || "error") + "\n", "error");
    }

    const phase = cell(data.phase.replace("PHASE_", ""), "phase");

    phase.dataset.phase = data.phase;

    append([cell(event.id), phase, cell(data.sequence, "number"),
            cell(replayed ? "replayed" : milliseconds(latency), "number"),
            cell(data.payload === null ? "" : JSON.stringify(data.payload))]);

    $("count").textContent = events;
    $("cursor").textContent = event.id;

    if (!replayed) {
        latencies.push(latency);

        const sorted = latencies.slice(-200).sort((a, b) => a - b);

        $("last").textContent = milliseconds(latency);
        $("median").textContent = milliseconds(sorted[sorted.length >> 1]);
    }

    $("text").toggleAttribute("data-writing", true);
}


function subscribe()
{
    sub = new Subscription(demo.events, channel.token, channel.channel_id, {
        state(name) {
            if (name === "open") {
                opened = Date.now();
            }

            if (name === "open" && sub.connections > 1) {
                note(sub.lastId ? "reconnected, going on after " + sub.lastId
                                : "reconnected");
            }

            if (name === "waiting" && state !== "waiting") {
                note("connection lost, the browser tries again");
            }

            if (name === "refused") {
                note("refused: the token may have expired, or the stream was "
                     + "over; try a new channel");
            }

            showState(name);
        },

        event: showEvent,

        control(type) {
            note("control: " + type);
        },

        failure(text) {
            note("server: " + text);
        }
    });

    sub.open();
}


/* --- the publisher --- */

async function send(phase, text, messageId)
{
    const target = channel;
    const message = {
        channelId: target.channel_id,
        messageId: messageId || uuid(),
        phase: phase,
        sequence: ++sequence,
        payload: text === undefined ? undefined : { value: text }
    };

    try {
        const answer = await publish(demo.publish + "/" + target.channel_id,
                                     demo.publish_token, message);

        if (target !== channel) {
            return false;
        }

        if (answer.status === 200) {
            reply("200, stored as " + answer.text);
            return true;
        }

        reply(answer.status + ", " + answer.text.slice(0, 200), true);

    } catch (error) {
        reply("not sent: " + error.message, true);
    }

    sequence = Math.max(received || 0, sequence - 1);

    return false;
}


/* crypto.randomUUID() is missing on plain HTTP of another host */

function uuid()
{
    const b = crypto.getRandomValues(new Uint8Array(16));

    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;

    const hex = Array.from(b, (n) => n.toString(16).padStart(2, "0")).join("");

    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}


function sleep(ms)
{
    return new Promise((done) => setTimeout(done, Math.max(0, ms)));
}


async function play()
{
    const id = ++plays;
    const words = SAMPLE.match(/\S+\s*/g);
    const streamId = uuid();

    playing = id;
    buttons();

    let good = await send("PHASE_START", undefined, streamId);
    let due = performance.now();

    for (const word of words) {
        due = Math.max(due + WORD_INTERVAL, performance.now());
        await sleep(due - performance.now());

        if (!good || playing !== id) {
            break;
        }

        good = await send("PHASE_DELTA", word);
    }

    if (good && playing === id) {
        await send("PHASE_END", undefined, streamId);
    }

    if (playing === id) {
        playing = 0;
        buttons();
    }
}


/* --- channels --- */

async function load()
{
    const response = await fetch("demo.json", { cache: "no-store" });

    if (!response.ok) {
        throw new Error("demo.json: status " + response.status);
    }

    demo = await response.json();
}


function used()
{
    try {
        return JSON.parse(sessionStorage.getItem("used")) || [];
    } catch (error) {
        return [];
    }
}


/* a channel that no tab of this window has had yet, or the one of the URL */

function pick(wanted)
{
    const taken = used();
    const named = demo.channels.find((c) => c.channel_id === wanted);
    const free = demo.channels.filter((c) => !taken.includes(c.channel_id));
    const choice = named || free[Math.floor(Math.random() * free.length)];

    if (choice) {
        sessionStorage.setItem("used",
            JSON.stringify([...new Set([...taken, choice.channel_id])]));
    }

    return choice;
}


async function start(wanted)
{
    playing = 0;
    notice("");

    if (sub) {
        sub.close();
    }

    try {
        if (!demo || demo.expires * 1000 < Date.now() + 60000) {
            await load();
        }

        channel = pick(wanted);

        if (!channel) {
            await load();
            channel = pick();
        }

    } catch (error) {
        notice("The demo's channels can't be read (" + error.message
               + "). Is demo/run still running?");
        return;
    }

    if (!channel) {
        notice("All channels of the demo are used up; start make demo again.");
        return;
    }

    sequence = 0;
    received = undefined;
    latencies = [];
    events = 0;
    clear();
    reply("Encoded as protobuf by this page; NGINX replies with the ID of the "
          + "entry in Redis.");

    history.replaceState(null, "", "#" + channel.channel_id);
    $("channel").textContent = channel.channel_id;
    $("twin").href = "#" + channel.channel_id;

    subscribe();
}


$("play").addEventListener("click", play);
$("fresh").addEventListener("click", () => start());

$("toggle").addEventListener("click", () => {
    if (state === "closed" || state === "refused") {
        sub.open();
        return;
    }

    sub.close();
    note("disconnected by hand; publishing goes on");
});

$("form").addEventListener("submit", async (event) => {
    event.preventDefault();

    const phase = $("phase").value;
    const text = $("message").value;

    $("send").disabled = true;

    const good = await send(phase, text === "" ? undefined : text + " ");

    if (good) {
        $("message").value = "";
        $("phase").value = "PHASE_DELTA";
    }

    buttons();
    $("message").focus();
});

start(location.hash.slice(1));

/* "?play" starts by itself: for a look at a glance, and for screenshots */

if (new URLSearchParams(location.search).has("play")) {
    const wait = setInterval(() => {
        if (state === "open") {
            clearInterval(wait);
            play();
        }
    }, 50);
}
