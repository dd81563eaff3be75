// Copyright (C) Conduit for NGINX authors
//
// The files of samples/, each run as its first lines say.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { ORG, World, freePort, launch, openContext, waitFor } from './lib.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)),
  '../..');
const samples = path.join(root, 'samples');
const build = path.join(root, 'build/samples');

const TEXT = 'Every word arrives as it is published. ';

const PUBLISHERS = {
  'curl/publish.sh': ['bash', 'curl/publish.sh'],
  'python/publish.py': ['python3', 'python/publish.py'],
  'python/publish_protos.py': ['python3', 'python/publish_protos.py'],
  'node/publish.mjs': ['node', 'node/publish.mjs'],
  'go/publish.go': [path.join(build, 'go/publish')],
};

const SUBSCRIBERS = {
  'curl/subscribe.sh': ['bash', 'curl/subscribe.sh'],
  'python/subscribe.py': ['python3', 'python/subscribe.py'],
  'node/subscribe.mjs': ['node', 'node/subscribe.mjs'],
  'go/subscribe.go': [path.join(build, 'go/subscribe')],
};

const STARTS = {
  'python/start.py': ['python3', 'python/start.py'],
  'node/start.mjs': ['node', 'node/start.mjs'],
};

let browser;
let world;
let channel;
let running;
let configuration;


before(async () => {
  world = await World.start();
  configuration = world.nginx.text;
  browser = await launch();
  fs.writeFileSync(path.join(world.tmp, 'gateway.key'),
    world.keys.privateKey.export({ type: 'pkcs8', format: 'pem' }));
});

after(async () => {
  await browser?.close();
  await world?.stop();
});

beforeEach(() => {
  channel = crypto.randomUUID();
  running = [];
});

afterEach(async () => {
  for (const sample of running) {
    sample.child.kill('SIGKILL');
    await sample.ended;
  }
  if (world.nginx.text !== configuration) {
    world.nginx.configure(configuration);
    await world.nginx.reload();
  }
  assert.deepEqual(world.nginx.alarms(), []);
});


// Runs a sample as a user would, with what it takes from the environment.

function run([command, ...args], env = {}) {
  const child = spawn(command, args, {
    cwd: samples,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      HOME: world.tmp,
      PYTHONPATH: path.join(build, 'python'),
      PYTHONDONTWRITEBYTECODE: '1',
      CONDUIT_URL: world.gatewayUrl,
      CONDUIT_ORG: String(ORG),
      CONDUIT_SECRET_FILE: path.join(world.tmp, 'publish.secret'),
      CONDUIT_KEY_FILE: path.join(world.tmp, 'gateway.key'),
      CONDUIT_PUBLISH_TOKEN: world.publishToken(),
      CONDUIT_SUBSCRIBE_TOKEN: world.gatewayToken(ORG, channel),
      ...env,
    },
  });
  const sample = { child, lines: [], errors: '' };

  createInterface({ input: child.stdout })
    .on('line', (line) => sample.lines.push(line));
  child.stderr.setEncoding('utf8')
    .on('data', (text) => { sample.errors += text; });

  sample.ended = new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(code ?? signal));
  });
  running.push(sample);
  return sample;
}

async function succeeds(sample, name) {
  assert.equal(await sample.ended, 0, `${name}: ${sample.errors}`);
}

// All messages of a channel, up to its END.

async function messages(id) {
  const response = await fetch(`${world.gatewayUrl}/events/${ORG}?${
    new URLSearchParams({ channel_id: id,
      token: world.gatewayToken(ORG, id) })}`);

  return [...(await response.text()).matchAll(/^data: (.*)$/mg)]
    .map(([, data]) => JSON.parse(data));
}

function publish(sequence, phase = 'DELTA', payload = { value: `${sequence} ` }) {
  return world.publish({ channel, phase, sequence,
    payload: phase === 'DELTA' ? payload : undefined });
}

async function publishAll(from, to) {
  for (let n = from; n <= to; n++) {
    await publish(n);
  }
}

async function configure(...changes) {
  world.nginx.replace(changes);
  await world.nginx.reload();
}


test('publishers: all messages arrive once, in order, over the rate', async () => {
  // one a second: over it is who publishes any two of nine faster

  await configure(['conduit_publish_rate off;',
    'conduit_publish_rate 1r/s; conduit_publish_idempotency 60s;']);

  const runs = Object.entries(PUBLISHERS).map(([name, command]) => {
    const id = crypto.randomUUID();

    return { name, id, sample: run([...command, id]) };
  });

  for (const { name, id, sample } of runs) {
    await succeeds(sample, name);

    const got = await messages(id);
    const words = got.slice(1, -1);

    assert.deepEqual(got.map(({ phase }) => phase), ['PHASE_START',
      ...words.map(() => 'PHASE_DELTA'), 'PHASE_END'], name);
    assert.equal(words.map(({ payload }) => payload.value).join(''), TEXT, name);
    assert.deepEqual(got.map(({ sequence }) => sequence),
      got.map((_, i) => i + 1), name);
    assert.equal(new Set(got.map((m) => m.message_id)).size, got.length, name);
    assert.equal(sample.lines.filter((line) => /^\d+-\d+( |$)/.test(line)).length,
      got.length, `${name} prints the IDs`);

    await waitFor(`${name} was over the rate`, () => world.nginx.accessLog()
      .some((line) => line.startsWith(`POST /publish/${ORG}/${id} 429 `)));
  }
});


test('python/publish_ai.py: the chunks that the AI SDK reads', async () => {
  const sample = run(['python3', 'python/publish_ai.py', channel]);

  await succeeds(sample, 'python/publish_ai.py');

  const got = await messages(channel);
  const chunks = got.slice(1, -1).map(({ payload }) => payload);

  assert.equal(got[0].phase, 'PHASE_START');
  assert.equal(got.at(-1).phase, 'PHASE_END');
  assert.deepEqual(chunks.slice(0, 3), [{ type: 'start', messageId: channel },
    { type: 'start-step' }, { type: 'text-start', id: '1' }]);
  assert.equal(chunks.slice(3, -3).map(({ type, id, delta }) =>
    type === 'text-delta' && id === '1' && delta).join(''), TEXT);
  assert.deepEqual(chunks.slice(-3), [{ type: 'text-end', id: '1' },
    { type: 'finish-step' }, { type: 'finish' }]);
});


test('a batch is published with curl', async () => {
  const sample = run(['bash', 'curl/batch.sh', channel]);

  await succeeds(sample, 'curl/batch.sh');
  assert.equal(sample.lines.length, 4);
  assert.deepEqual((await messages(channel)).map(({ phase, sequence, payload }) =>
    [phase, sequence, payload?.value ?? null]), [['PHASE_START', 1, null],
    ['PHASE_DELTA', 2, 'one '], ['PHASE_DELTA', 3, 'two '],
    ['PHASE_END', 4, null]]);
});


test('subscribers: nothing is lost or repeated by a reload and a crash', async () => {
  const runs = Object.entries(SUBSCRIBERS).map(([name, command]) =>
    ({ name, sample: run([...command, channel]) }));

  const received = (count) => Promise.all(runs.map(({ name, sample }) =>
    waitFor(`${name} prints ${count} messages`, () => {
      assert.equal(sample.child.exitCode, null, `${name}: ${sample.errors}`);
      return sample.lines.length >= count;
    })));

  // what splits lines elsewhere, and a line of more than 64 KB

  const texts = { 2: { value: 'a\u2028b\u0085c\n"d" é ☺' },
    3: { value: '\u0001'.repeat(12000) } };

  await publish(1, 'START');
  await publish(2, 'DELTA', texts[2]);
  await publish(3, 'DELTA', texts[3]);
  await publishAll(4, 20);
  await received(20);

  await Promise.all([world.nginx.reload(), publishAll(21, 40)]);
  await received(40);

  await world.nginx.crash();
  await world.publishElsewhere({ channel, phase: 'DELTA', sequence: 41,
    payload: { value: '41 ' } });
  await world.nginx.run();
  await publishAll(42, 60);
  await publish(61, 'END');

  const wanted = Array.from({ length: 61 }, (_, i) => i + 1);

  for (const { name, sample } of runs) {
    await succeeds(sample, name);

    const lines = sample.lines.join('\n');
    const found = [...lines.matchAll(name.startsWith('curl')
      ? /"sequence":(\d+)/g : /^(\d+) PHASE_(?:START|DELTA|END) /mg)];

    assert.deepEqual(found.map(([, n]) => Number(n)), wanted, name);
    assert.equal(sample.lines.length, 61, name);
  }

  // the payload is the one that was sent

  for (const { name, sample } of runs.filter(({ name: n }) =>
    !n.startsWith('curl'))) {
    for (const n of [2, 3]) {
      assert.deepEqual(JSON.parse(sample.lines[n - 1]
        .replace(/^\d+ PHASE_DELTA /, '')), texts[n], name);
    }
  }
});


test('a token that is refused is said, and ends a sample', async () => {
  const wrong = path.join(world.tmp, 'wrong.secret');

  fs.writeFileSync(wrong, 'not the secret of the server\n');

  for (const [name, command] of Object.entries(PUBLISHERS)) {
    const sample = run([...command, channel], { CONDUIT_SECRET_FILE: wrong,
      CONDUIT_PUBLISH_TOKEN: 'none' });

    assert.notEqual(await sample.ended, 0, name);
    assert.match(sample.errors + sample.lines, /401|validation failed/, name);
  }

  for (const [name, command] of Object.entries(SUBSCRIBERS)) {
    const sample = run([...command, crypto.randomUUID()]);

    assert.notEqual(await sample.ended, 0, name);
    assert.match(sample.errors + sample.lines, /403/, name);
  }
});


// A start endpoint, with what was asked of it.

async function startEndpoint(command) {
  const port = await freePort();
  const sample = run(command, { PORT: String(port) });

  await waitFor('the endpoint listens', () => {
    assert.equal(sample.child.exitCode, null, sample.errors);
    return sample.lines.includes(`http://127.0.0.1:${port}/`);
  });
  return `http://127.0.0.1:${port}/`;
}

for (const [name, command] of Object.entries(STARTS)) {

  test(`${name}: what it answers`, async () => {
    const url = `${await startEndpoint(command)}start`;
    const ask = async (body) => {
      const response = await fetch(url, { method: 'POST', body });

      return [response.status, await response.text()];
    };

    const [status, text] = await ask(JSON.stringify({ org_id: 7,
      run: channel }));
    const { conduit, ...rest } = JSON.parse(text);

    assert.equal(status, 200);
    assert.deepEqual(rest, {});
    assert.deepEqual({ ...conduit, token: null }, { token: null,
      channel_id: channel, url: `${world.gatewayUrl}/events/${ORG}` });

    for (const body of ['', '{', '{}', '[]', 'null', '{"run": 1}',
      '{"run": "x"}', '{"run": null}']) {
      assert.equal((await ask(body))[0], 400, body);
    }
  });


  test(`${name}: conduit-client gets the payloads of DELTAs alone`, async () => {
    const url = await startEndpoint(command);
    const client = run(['node', 'node/client.mjs', channel],
      { START_URL: `${url}start` });

    await publish(1, 'START');
    await publishAll(2, 20);
    await waitFor('the first 19 payloads', () => client.lines.length >= 19);
    await Promise.all([world.nginx.reload(), publishAll(21, 40)]);

    // what does not rise is dropped

    await publish(40, 'DELTA', { value: 'again' });
    await publish(41);
    await publish(42, 'END');

    await succeeds(client, 'node/client.mjs');
    assert.deepEqual(client.lines.map((line) => JSON.parse(line).value),
      Array.from({ length: 40 }, (_, i) => `${i + 2} `));
    assert.match(client.errors, /^closed$/m);
  });


  test(`${name}: the page goes on with a new token`, async () => {
    const url = await startEndpoint(command);
    const page = await (await openContext(browser)).newPage();
    const starts = [];
    const tokens = [];
    const errors = [];

    page.on('pageerror', (error) => errors.push(error.message));
    page.on('request', (request) => {
      if (request.method() === 'POST') {
        starts.push(request.postDataJSON());
      }
      if (request.url().includes('/events/')) {
        tokens.push({ after: starts.length,
          token: new URL(request.url()).searchParams.get('token') });
      }
    });

    const shows = (id, text) => page.waitForFunction(([i, t]) =>
      document.getElementById(i).textContent === t, [id, text]);
    const texts = (from, to) => Array.from({ length: to - from + 1 },
      (_, i) => `${from + i} `).join('');

    // without a run it makes one up, which stays when it is loaded again

    await page.goto(url);
    await page.waitForFunction(() => location.search.length > 5);
    channel = await page.textContent('#run');
    assert.equal(new URL(page.url()).search, `?run=${channel}`);
    await shows('state', 'connected');

    await publish(1, 'START');
    await publishAll(2, 5);
    await shows('text', texts(2, 5));

    await page.reload();
    await shows('text', texts(2, 5));
    assert.deepEqual(starts, [{ run: channel }, { run: channel }]);

    // a worker that leaves says that the token is too old to come back with

    const drain = 'conduit_gateway_drain 500ms;';
    const event = `${drain} conduit_gateway_drain_event on;`;

    await configure([drain, event]);
    await publish(6);
    await shows('text', texts(2, 6));
    assert.equal(starts.length, 2);

    await Promise.all([world.nginx.reload(), publishAll(7, 10)]);
    await shows('text', texts(2, 10));
    await waitFor('it has asked again', () => starts.length === 3);
    await waitFor('it has come back with the new token',
      () => tokens.at(-1).after === 3);
    await shows('state', 'connected');

    // the token is refused when the browser comes back with it

    const second = Math.floor(Date.now() / 1000);

    await waitFor('the next token is another one',
      () => Math.floor(Date.now() / 1000) > second);

    const location = 'location /events/ {';
    const refuse = `${location} if ($arg_token = "${tokens.at(-1).token}") {
                                return 401; }`;

    await configure([location, refuse]);
    await publishAll(11, 15);
    await shows('text', texts(2, 15));
    assert.ok(starts.length > 3, 'it has asked for another token');
    assert.ok(starts.every(({ run: id }) => id === channel));

    await publish(16, 'END');
    await shows('state', 'the end');
    await shows('text', texts(2, 15));
    assert.deepEqual(errors, []);
    await page.context().close();
  });
}
