// Copyright (C) Conduit for NGINX authors
//
// docs/openapi.yaml against NGINX with nginx.conf.example: schemathesis makes
// requests from it, good and bad ones, and compares what is answered.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { ORG, World, waitFor } from './lib.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, '../..');
const channel = crypto.randomUUID();
const ended = crypto.randomUUID();
const refused = crypto.randomUUID();

let world;
let endedId;


before(async () => {
  world = await World.start({ example: true });

  // pages that the example has not; responses that end soon, and streams that are
  // kept until the last test; no limits of NGINX's own, which are not described

  const { nginx, redis } = world;

  fs.mkdirSync(path.join(world.tmp, 'locations'));
  fs.writeFileSync(path.join(world.tmp, 'locations/pages.conf'), [
    ['gateway/live', 'conduit_gateway_health live'],
    ['gateway/status', 'conduit_gateway_status json'],
    ['publish/status', 'conduit_publish_status json'],
  ].map(([where, what]) => `location = /conduit/${where} { ${what}; }\n`)
    .join(''));

  nginx.replace([
    ['worker_processes 2;', 'worker_processes 1;'],
    [/^.*limit_(?:req|conn) (?:zone=)?conduit_.*\n/mg, ''],
    ['conduit_publish_rate 20r/s;', `conduit_publish_rate 1000r/s;
      conduit_publish_idle_ttl 1h; conduit_publish_end_ttl 1h;
      conduit_publish_timeout 15s; conduit_publish_idempotency 60s;`],
    ['conduit_gateway_retry 500ms;', `conduit_gateway_retry 500ms;
      conduit_gateway_max_duration 50ms; conduit_gateway_max_wait 50ms;
      conduit_gateway_after_end stop; conduit_gateway_gzip on;`],
  ]);
  await nginx.reload();

  for (const [i, phase] of ['START', 'DELTA', 'DELTA'].entries()) {
    await world.publish({ channel, phase, sequence: i + 1,
      payload: phase === 'DELTA' ? { value: 'hello' } : undefined });
  }
  endedId = await world.publish({ channel: ended, phase: 'END', sequence: 1 });
  await redis.command('SET', `stream:${ORG}:${refused}`, 'no stream');
});

after(() => world?.stop());


// Runs Python with schemathesis; gives its exit code and what it printed.

async function python(...args) {
  const child = spawn('python3', args, {
    cwd: world.tmp,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      HOME: world.tmp,
      PYTHONPATH: path.join(root, 'build/openapi'),
      PYTHONDONTWRITEBYTECODE: '1',
      SCHEMATHESIS_HOOKS: path.join(here, 'openapi/hooks.py'),
      CONDUIT_URL: world.gatewayUrl,
      CONDUIT_ORG: String(ORG),
      CONDUIT_CHANNEL: channel,
      CONDUIT_ENDED: ended,
      CONDUIT_ENDED_ID: endedId,
      CONDUIT_ENDED_TOKEN: world.gatewayToken(ORG, ended),
      CONDUIT_REFUSED: refused,
      CONDUIT_REDIS_PID: String(world.redis.child.pid),
      CONDUIT_PUBLISH_TOKEN: world.publishToken(),
      CONDUIT_SUBSCRIBE_TOKEN: world.gatewayToken(ORG, channel),
    },
  });
  let output = '';

  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => { output += text; });
  }

  const code = await new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', resolve);
  });

  return { code, output };
}

async function cases(redis) {
  const { code, output } = await python(path.join(here, 'openapi/cases.py'),
    redis);

  assert.equal(code, 0, output);
}


test('requests made from docs/openapi.yaml get what it says', async () => {
  const { code, output } = await python('-m', 'schemathesis.cli',
    '--config-file', path.join(here, 'openapi/schemathesis.toml'),
    '--no-color', 'run', '--url', world.gatewayUrl,
    path.join(root, 'docs/openapi.yaml'));

  assert.equal(code, 0, output);
  assert.match(output, /Operations: +10 selected/);
  assert.deepEqual(world.nginx.alarms(), []);
});


test('every answer is described', async () => {
  world.nginx.replace([['1000r/s;', '20r/m;']]);
  await world.nginx.reload();

  await waitFor('the worker has seen the end', async () => {
    const { status } = await fetch(`${world.gatewayUrl}/events/${ORG}?${
      new URLSearchParams({ channel_id: ended, last_event_id: endedId,
        token: world.gatewayToken(ORG, ended) })}`);

    return status === 204;
  });
  await cases('up');
  assert.deepEqual(world.nginx.alarms(), []);
});


test('every answer is described: Redis is slow', async () => {
  // a PING of the health pages would find out before

  const ready = /conduit_(publish|gateway)_health ready;/g;
  const { text } = world.nginx;

  world.nginx.replace([[ready, 'return 404;'],
    ['conduit_publish_timeout 15s;', 'conduit_publish_timeout 500ms;']]);
  await world.nginx.reload();
  try {
    await cases('slow');
  } finally {
    world.nginx.configure(text);
    await world.nginx.reload();
  }
});


test('every answer is described: Redis is away', async () => {
  await world.redis.stop();
  await waitFor('the gateway notices', async () =>
    (await fetch(`${world.gatewayUrl}/conduit/gateway/ready`)).status === 503);
  await waitFor('the publish module notices', async () =>
    (await fetch(`${world.gatewayUrl}/conduit/publish/ready`)).status === 503);
  await cases('down');
  assert.deepEqual(world.nginx.alarms(), []);
});
