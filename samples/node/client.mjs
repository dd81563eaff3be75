// Prints the payloads of a run with Sentry's conduit-client, in Node:
//
//     npm ci && node client.mjs RUN
//
// RUN is a UUID, START_URL the endpoint that gives out streams: start.mjs beside
// this file, or ../python/start.py.
//
// The package has to be imported as an ES module; its file for require() is
// missing.  It brings a React hook, and so needs "react" even where nobody uses
// that.  Node has no EventSource, which "eventsource" brings.  In a page nothing
// of this is needed but a bundler.

import { ConduitClient } from 'conduit-client';
import { EventSource } from 'eventsource';

globalThis.EventSource ??= EventSource;

const client = new ConduitClient({
  orgId: 1,
  startStreamUrl: process.env.START_URL ?? 'http://127.0.0.1:3000/start',

  // What says which stream is meant belongs here: the client asks again when its
  // token has expired, and must get the same channel then.

  startStreamData: { run: process.argv[2] },

  // The payloads of DELTAs, and nothing else: of START and END nothing comes
  // here.  A message whose sequence is not above the last one's is dropped without
  // a word, START's included.

  onMessage: (payload) => console.log(JSON.stringify(payload)),

  // Also called when the connection breaks: the client comes back by itself.

  onError: (error) => console.error(error.message),

  // after END, when there is nothing more to come

  onClose: () => console.error('closed'),
});

await client.connect();
