// The endpoint that conduit-client and ../browser/index.html ask for a stream:
//
//     CONDUIT_KEY_FILE=gateway.key node start.mjs
//
// It listens on http://127.0.0.1:3000/ (PORT is another port) and serves the
// page, too.  The client POSTs JSON, {"org_id": 1, "run": "..."}: what stands
// beside org_id is its "startStreamData".  It expects a 200 with
//
//     {"conduit": {"token": "...", "channel_id": "...", "url": "..."}}
//
// and opens an EventSource on url, with token and channel_id in the query.  It
// asks again when its token has expired (event "control", "server_draining").
//
// - A channel for each run, and the same one each time that its client asks: with
//   another one the client begins anew, and never sees the rest of the first.
// - An error here, a 429 for example, leaves the client without a stream, and it
//   does not try again.
// - The client adds its position, last_event_id, to the url by itself.
// - Of what you publish to the channel, conduit-client hands on the payloads of
//   DELTAs alone, and only where the sequence is above that of the message before:
//   equal ones are dropped without a word.  publish.mjs leaves the numbers to the
//   server, which counts up by one.

import { createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const url = process.env.CONDUIT_URL ?? 'http://127.0.0.1:8080';
const org = Number(process.env.CONDUIT_ORG ?? 1);
const port = Number(process.env.PORT ?? 3000);

// The private key: NGINX has the public one (conduit_gateway_jwt_key_file).

const key = createPrivateKey(readFileSync(process.env.CONDUIT_KEY_FILE));
const page = readFileSync(new URL('../browser/index.html', import.meta.url));

function signToken(claims) {
  const part = (object) =>
    Buffer.from(JSON.stringify(object)).toString('base64url');

  const text = `${part({ alg: 'RS256', typ: 'JWT' })}.${part(claims)}`;

  return `${text}.${sign('sha256', Buffer.from(text), key)
    .toString('base64url')}`;
}

// Answers one POST; request is its JSON.

function start({ run }) {

  // Here a run's ID is a UUID, and its channel.  Where your runs have numbers,
  // derive a UUID from the number, always the same.

  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(run)) {
    throw new Error('"run" must be a UUID');
  }

  // YOURS: is the user logged in, and may they see this run?  As it stands,
  // everybody who reaches this endpoint may.  The organization is the one of the
  // user; never take it from the request.

  return {
    conduit: {
      token: signToken({
        iss: 'sentry', // conduit_gateway_jwt_issuer
        aud: 'conduit', // conduit_gateway_jwt_audience
        org_id: org,
        channel_id: run,
        exp: Math.floor(Date.now() / 1000) + 600,
      }),
      channel_id: run,
      url: `${url}/events/${org}`,
    },
  };
}

createServer(async (request, response) => {
  const reply = (status, type, body) => {
    response.writeHead(status, { 'Content-Type': type,
      'Cache-Control': 'no-store' }).end(body);
  };

  if (request.method === 'POST') {
    let body = '';

    try {
      for await (const chunk of request.setEncoding('utf8')) {
        body += chunk;
      }
      reply(200, 'application/json', JSON.stringify(start(JSON.parse(body))));
    } catch (error) {
      reply(400, 'text/plain', `${error.message}\n`);
    }
  } else if (request.url.split('?')[0] === '/') {
    reply(200, 'text/html; charset=utf-8', page);
  } else {
    reply(404, 'text/plain', '');
  }
}).listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port}/`));
