// Publishes a text to a channel, word by word, with fetch() alone:
//
//     CONDUIT_SECRET_FILE=publish.secret node publish.mjs CHANNEL
//
// CHANNEL is a UUID: the address of one stream.  Take a new one for each run (one
// answer, one job): node -p 'crypto.randomUUID()'

import { createHmac, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const url = process.env.CONDUIT_URL ?? 'http://127.0.0.1:8080';
const org = Number(process.env.CONDUIT_ORG ?? 1);
const secret = readFileSync(process.env.CONDUIT_SECRET_FILE, 'utf8')
  .replace(/\n$/, '');

// Publishers sign their own tokens; the secret never leaves the servers.

function token() {
  const part = (object) =>
    Buffer.from(JSON.stringify(object)).toString('base64url');

  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({
    iss: 'sentry', // conduit_publish_jwt_issuer
    aud: 'conduit', // conduit_publish_jwt_audience
    sub: 'sample', // who publishes: any string
    org_id: org, // for conduit_publish_org_claim
    exp: Math.floor(Date.now() / 1000) + 600,
  })}`;

  return `${text}.${createHmac('sha256', secret).update(text)
    .digest('base64url')}`;
}

// Publishes one message; gives the ID of its entry.
//
// The server gives the message its sequence.  Its ID is made here, once: a
// request that is sent again may store the message twice, and readers tell by the
// ID.  With "conduit_publish_idempotency" on, the key prevents it in the first
// place.

async function publish(channel, phase, payload) {
  const id = randomUUID();
  let error;
  let wait = 0;

  for (let attempt = 0; attempt < 10; attempt++) {
    await sleep(wait * 1000);
    wait = 1;

    let response;
    let text;

    try {
      response = await fetch(`${url}/publish/${org}/${channel}`, {
        method: 'POST',
        headers: {
          'Authorization': `Bearer ${token()}`,
          'Content-Type': 'application/json',
          'Idempotency-Key': id,
        },
        body: JSON.stringify({ message_id: id, phase, payload }),
        signal: AbortSignal.timeout(5000),
      });
      text = await response.text();
    } catch (e) {
      error = e.cause?.message ?? e.message; // no connection, no answer
      continue;
    }

    if (response.status === 200) {
      return text;
    }

    // these pass: over the rate, Redis is away, Redis is slow

    error = `${response.status} ${text}`;

    if (![429, 503, 504].includes(response.status)) {
      break;
    }
    wait = Number(response.headers.get('Retry-After') ?? wait);
  }

  throw new Error(`not published: ${error}`);
}

const channel = process.argv[2];

console.log(await publish(channel, 'START'));

for (const word of 'Every word arrives as it is published.'.split(' ')) {
  console.log(await publish(channel, 'DELTA', { value: `${word} ` }));
}

console.log(await publish(channel, 'END')); // readers stop here
