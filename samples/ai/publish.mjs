// Publishes an answer of the AI SDK, chunk by chunk, with fetch() alone:
//
//     const { stream } = streamText({ model, messages });
//     await publishTurn(turn, toUIMessageStream({ stream }));
//
// turn is a UUID, the address of one stream: a new one for each answer.  NGINX
// sends it as the SDK's own server would (conduit_gateway_format payload).

import { createHmac, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const url = process.env.CONDUIT_URL ?? 'http://127.0.0.1:8080';
const org = Number(process.env.CONDUIT_ORG ?? 1);
const secret = readFileSync(process.env.CONDUIT_SECRET_FILE, 'utf8')
  .replace(/\n$/, '');

// Call it before the page learns of the turn: from then on it is running, for a
// page that is reloaded, too.

export function beginTurn(turn) {
  return publish(turn, 'START');
}

export async function publishTurn(turn, chunks) {
  try {
    for await (const chunk of chunks) {
      await publish(turn, 'DELTA', chunk);
    }
  } catch (error) {
    await publish(turn, 'DELTA', { type: 'error', errorText: 'no answer' });
    throw error;
  } finally {
    await publish(turn, 'END'); // "data: [DONE]"
  }
}

// Publishes one message.  A request that is sent again may store it twice; with
// "conduit_publish_idempotency" on, the key prevents it: a page would show the
// words twice.

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

    error = `${response.status} ${text}`;

    if (![429, 503, 504].includes(response.status)) {
      break;
    }
    wait = Number(response.headers.get('Retry-After') ?? wait);
  }

  throw new Error(`not published: ${error}`);
}

function token() {
  const part = (object) =>
    Buffer.from(JSON.stringify(object)).toString('base64url');

  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({
    iss: 'sentry', // conduit_publish_jwt_issuer
    aud: 'conduit', // conduit_publish_jwt_audience
    sub: 'chat', // who publishes: any string
    org_id: org, // for conduit_publish_org_claim
    exp: Math.floor(Date.now() / 1000) + 600,
  })}`;

  return `${text}.${createHmac('sha256', secret).update(text)
    .digest('base64url')}`;
}
