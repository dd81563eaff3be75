// Copyright (C) Conduit for NGINX authors
//
// conduit_gateway_format durable: the conformance tests of the Durable Streams
// protocol, against NGINX and a write side that is only here; and its TypeScript
// client.  durable/exceptions.mjs lists the tests that fail, and why: one that
// fails besides, or passes although it is listed, is a failure.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { World, root } from './lib.mjs';
import { Shim } from './durable/shim.mjs';
import { exceptions } from './durable/exceptions.mjs';

const place = path.join(root, 'build/durable');
const WAIT = 3;

// the locations for streams of a type
const TYPES = {
  'application/json': 'json',
  'text/plain': 'text',
  'application/octet-stream': 'bytes',
  'application/x-protobuf': 'protobuf',
  'image/png': 'png',
};

let world;
let shim;


before(async () => {
  world = await World.start();

  const { nginx, redis } = world;
  const locations = Object.entries(TYPES).map(([type, name]) => `
        location ~ ^/${name}(?<durable_${name}>/.*)$ {
            conduit_gateway redis://127.0.0.1:${redis.port};
            conduit_gateway_auth off;
            conduit_gateway_key ds:$durable_${name};
            conduit_gateway_format durable;
            conduit_gateway_durable_type ${type};
            conduit_gateway_durable_wait ${WAIT}s;
        }
`);

  nginx.replace([['        location /publish/ {',
    `${locations.join('')}\n        location /publish/ {`]]);
  await nginx.reload();

  shim = await Shim.start({
    redisPort: redis.port,
    nginxPort: nginx.port,
    location: (type) => `/${TYPES[type] ?? 'bytes'}`,
  });
});

after(async () => {
  await shim?.stop();
  await world?.stop();
});


// Runs vitest; gives the tests as its JSON reporter tells them.

async function conformance() {
  const report = path.join(world.tmp, 'conformance.json');
  const child = spawn(process.execPath,
    [path.join(place, 'node_modules/vitest/vitest.mjs'), 'run',
      '--root', place, '--testTimeout=120000', '--reporter=json', `--outputFile=${report}`], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, DURABLE_URL: shim.url,
        DURABLE_WAIT: String(WAIT * 1000), NO_COLOR: '1' },
    });

  await new Promise((resolve) => child.once('exit', resolve));

  return JSON.parse(fs.readFileSync(report, 'utf8')).testResults
    .flatMap((file) => file.assertionResults);
}


test('the conformance tests pass but for those that do not apply', async (t) => {
  const results = await conformance();
  const expected = new Map(exceptions.flatMap(({ why, tests }) => tests
    .map((name) => [name, why])));
  const failed = results.filter(({ status }) => status === 'failed');
  const names = new Set(failed.map(({ fullName }) => fullName));

  t.diagnostic(`${results.filter(({ status }) => status === 'passed').length}`
    + ` passed, ${failed.length} failed, of ${results.length}`);

  for (const { fullName, failureMessages } of failed) {
    if (!expected.has(fullName)) {
      t.diagnostic(`${fullName}: ${failureMessages[0]?.split('\n')[0]}`);
    }
  }

  if (process.env.DURABLE_REPORT) {
    fs.writeFileSync(process.env.DURABLE_REPORT,
      JSON.stringify(results, null, 1));
  }

  assert.ok(results.length > 300, 'all tests were run');
  assert.deepEqual([...names].filter((name) => !expected.has(name)), [],
    'no other test fails');
  assert.deepEqual([...expected.keys()].filter((name) => !names.has(name)), [],
    'all that are listed fail');
});


test('the client follows a stream live until it is closed', async () => {
  const { stream } = await import(pathToFileURL(path.join(place,
    'node_modules/@durable-streams/client/dist/index.js')));

  for (const live of ['long-poll', 'sse']) {
    const url = `${shim.url}/v1/stream/client-${live}`;
    const send = (method, body, headers = {}) => fetch(url, { method, body,
      headers: { 'Content-Type': 'application/json', ...headers } });
    const got = [];

    await send('PUT', '[{"n":0}]');

    const response = await stream({ url, offset: '-1', live, json: true });
    const done = new Promise((resolve) => {
      response.subscribeJson(async (batch) => {
        got.push(...batch.items);
        if (got.length === 21) {
          resolve();
        }
      });
    });

    for (let n = 1; n < 20; n++) {
      await send('POST', JSON.stringify({ n }));
    }
    await send('POST', '{"n":20}', { 'Stream-Closed': 'true' });

    await done;
    await response.closed;
    assert.deepEqual(got, Array.from({ length: 21 }, (_, n) => ({ n })), live);
  }
});
