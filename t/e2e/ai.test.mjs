// Copyright (C) Conduit for NGINX authors
//
// The AI SDK's useChat() in a browser, as samples/ai has it: an answer that is
// under way when the page is loaded again, and 204 when none is.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import * as esbuild from 'esbuild';

import { ORG, World, freePort, launch, root, waitFor } from './lib.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const build = path.join(root, 'build/samples/ai');

const WORDS = Array.from({ length: 40 }, (_, i) => `${i + 1} `);
const TEXT = WORDS.join('');

let browser;
let world;
let page;
let application;
let chats;
let requests;
let errors;
let turn;
let sequence;


before(async () => {
  // the sample where a reader would have it: beside its packages

  fs.rmSync(build, { recursive: true, force: true });
  fs.cpSync(path.join(root, 'samples/ai'), build, { recursive: true });
  fs.symlinkSync(path.join(here, 'node_modules'),
    path.join(build, 'node_modules'));

  await esbuild.build({
    entryPoints: [path.join(build, 'page.jsx')],
    outfile: path.join(build, 'page.js'),
    bundle: true, format: 'esm', jsx: 'automatic', logLevel: 'error',
    define: { 'process.env.NODE_ENV': '"production"' },
  });

  world = await World.start();
  world.nginx.replace([['location /events/ {', `
    location = /answers {
        conduit_gateway redis://127.0.0.1:${world.redis.port};
        conduit_gateway_key "stream:${ORG}:$arg_id";
        conduit_gateway_format payload;
        conduit_gateway_resume_only $arg_resume;
        conduit_gateway_after_end stop;
        conduit_gateway_auth off;
        conduit_gateway_drain 500ms;
    }

    location /events/ {`]]);
  await world.nginx.reload();
  await serve();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  application?.server.close();
  application?.server.closeAllConnections();
  await world?.stop();
});

beforeEach(async () => {
  chats = new Map();
  requests = [];
  errors = [];
  turn = crypto.randomUUID();
  sequence = 0;

  page = await browser.newPage();
  page.setDefaultTimeout(120000);
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('response', (response) => {
    if (response.url().includes('/answers')
        && response.request().method() === 'GET') {
      requests.push([response.status(),
        new URL(response.url()).searchParams.get('resume'),
        response.request().headers()['last-event-id'] ?? null]);
    }
  });
});

afterEach(async () => {
  await page.close();
  assert.deepEqual(errors, []);
  assert.deepEqual(world.nginx.alarms(), []);
});


// The application, whose model is the test: a POST begins the turn "turn".

async function serve() {
  const server = http.createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost');
    const json = (value) => response.writeHead(200, {
      'Content-Type': 'application/json', 'Cache-Control': 'no-store',
    }).end(JSON.stringify(value));

    if (request.method === 'POST') {
      let body = '';

      for await (const part of request.setEncoding('utf8')) {
        body += part;
      }

      const { id, messages } = JSON.parse(body);

      await publish('START');
      chats.set(id, { messages, turn });
      json({ turn });
    } else if (pathname === '/api/chat') {
      json({ messages: [], ...chats.get(searchParams.get('id')),
        events: `${world.gatewayUrl}/answers` });
    } else if (pathname === '/page.js') {
      response.writeHead(200, { 'Content-Type': 'text/javascript' })
        .end(fs.readFileSync(path.join(build, 'page.js')));
    } else {
      response.writeHead(200, { 'Content-Type': 'text/html' }).end(
        '<!DOCTYPE html><link rel="icon" href="data:,"><div id="chat"></div>'
        + '<script type="module" src="page.js"></script>');
    }
  });

  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  application = { server, url: `http://127.0.0.1:${server.address().port}/` };
}

// What the SDK's own server would send.

function publish(phase, payload) {
  return world.publish({ channel: turn, phase, sequence: ++sequence, payload });
}

async function chunks(...list) {
  for (const chunk of list) {
    await publish('DELTA', chunk);
  }
}

async function words(from, to) {
  await chunks(...WORDS.slice(from, to).map((delta) =>
    ({ type: 'text-delta', id: '1', delta })));
}

async function begin() {
  await chunks({ type: 'start', messageId: `answer-${turn}` },
    { type: 'start-step' }, { type: 'text-start', id: '1' });
}

async function end() {
  await chunks({ type: 'text-end', id: '1' }, { type: 'finish-step' },
    { type: 'finish' });
  await publish('END');
}


// What the page shows: the texts of its messages.

function shows(expected, status) {
  return page.waitForFunction(([texts, state]) => {
    const shown = [...document.querySelectorAll('#chat p')]
      .map((p) => p.textContent);

    return JSON.stringify(shown) === texts
      && (!state || document.getElementById('status')?.textContent === state);
  }, [JSON.stringify(expected), status], { timeout: 60000 });
}

async function open() {
  await page.goto(`${application.url}?chat=${turn}`);
  await shows([], 'ready');
  await answered(1);
}

async function send(text) {
  await page.fill('input', text);
  await page.click('button');
}

const answered = (n) => waitFor(`${n} responses`, () => requests.length >= n);


test('nothing to resume: 204, for a chat that has had no turn', async () => {
  await open();
  assert.deepEqual(requests, [[204, '1', null]]);
  assert.equal(await page.textContent('#error'), '');
});


test('half of an answer, a reload of the page, and the rest', async () => {
  await open();
  await send('Count!');
  await answered(2);
  assert.deepEqual(requests[1], [200, null, null]);

  await begin();
  await words(0, 20);
  await shows(['Count!', WORDS.slice(0, 20).join('')], 'streaming');

  await page.reload();
  await shows(['Count!', WORDS.slice(0, 20).join('')], 'streaming');
  assert.deepEqual(requests[2], [200, '1', null]);

  await words(20, 40);
  await end();
  await shows(['Count!', TEXT], 'ready');

  // the whole of the answer is there, and the turn is over

  chats.get(turn).messages.push({ id: `answer-${turn}`, role: 'assistant',
    parts: [{ type: 'text', text: TEXT }] });
  await page.reload();
  await answered(4);
  assert.deepEqual(requests[3], [204, '1', null]);
  await shows(['Count!', TEXT], 'ready');
  assert.equal(requests.length, 4);
});


test('a page that is reloaded before the first word', async () => {
  await open();
  await send('Count!');
  await shows(['Count!'], 'submitted');
  await answered(2);

  await page.reload();
  await answered(3);
  assert.deepEqual(requests[2], [200, '1', null]);

  await begin();
  await words(0, 40);
  await end();
  await shows(['Count!', TEXT], 'ready');
});


test('two pages, each loaded at another moment, show the same', async () => {
  await open();
  await send('Count!');
  await begin();
  await words(0, 10);
  await shows(['Count!', WORDS.slice(0, 10).join('')]);

  const first = page;
  const second = await browser.newPage();

  second.setDefaultTimeout(120000);

  await second.goto(`${application.url}?chat=${turn}`);
  page = second;
  await shows(['Count!', WORDS.slice(0, 10).join('')]);

  await words(10, 40);
  await end();
  await shows(['Count!', TEXT], 'ready');
  await second.close();
  page = first;
  await shows(['Count!', TEXT], 'ready');
});


test('a reload and a crash of NGINX: nothing twice, nothing lost', async () => {
  await open();
  await send('Count!');
  await begin();
  await words(0, 10);
  await shows(['Count!', WORDS.slice(0, 10).join('')]);

  // the old worker may send all of these before it ends the response

  const before = requests.length;

  await Promise.all([world.nginx.reload(), words(10, 20)]);
  await answered(before + 1);
  assert.match(requests[before][2], /^\d+-\d+$/, 'it came with its position');
  await shows(['Count!', WORDS.slice(0, 20).join('')], 'streaming');

  await world.nginx.crash();
  await world.publishElsewhere({ channel: turn, phase: 'DELTA',
    sequence: ++sequence,
    payload: { type: 'text-delta', id: '1', delta: WORDS[20] } });
  await world.nginx.run();
  await words(21, 40);
  await end();
  await shows(['Count!', TEXT], 'ready');
  assert.equal(await page.textContent('#error'), '');
});


test('a part of the answer is gone: the page is told', async () => {
  await open();
  await send('Count!');
  await begin();
  await words(0, 10);
  await shows(['Count!', WORDS.slice(0, 10).join('')]);

  await world.nginx.crash();
  await world.redis.command('XTRIM', `stream:${ORG}:${turn}`, 'MAXLEN', '1');
  await world.publishElsewhere({ channel: turn, phase: 'DELTA',
    sequence: ++sequence,
    payload: { type: 'text-delta', id: '1', delta: 'later' } });
  await world.redis.command('XTRIM', `stream:${ORG}:${turn}`, 'MAXLEN', '0');
  await world.nginx.run();
  await words(20, 21);
  await page.waitForFunction(() =>
    document.getElementById('error')?.textContent.includes('no longer there'),
  null, { timeout: 60000 });
  await shows(['Count!', WORDS.slice(0, 10).join('')], 'error');
});


// the browser does the rest; the SDK's server part needs a later Node than we do

const old = Number(process.versions.node.split('.')[0]) < 20;

test('samples/ai: the application, its model and its page', {
  skip: old && 'the package "ai" does not run on this Node',
}, async () => {
  const port = await freePort();
  const sample = spawn('node', [path.join(build, 'app.mjs')], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      PORT: String(port),
      CONDUIT_URL: world.gatewayUrl,
      CONDUIT_ORG: String(ORG),
      CONDUIT_SECRET_FILE: path.join(world.tmp, 'publish.secret'),
      EVENTS_URL: `${world.gatewayUrl}/answers`,
    },
  });
  let output = '';

  for (const stream of [sample.stdout, sample.stderr]) {
    stream.setEncoding('utf8').on('data', (data) => { output += data; });
  }

  try {
    await waitFor('the application listens', () => {
      assert.equal(sample.exitCode, null, output);
      return output.includes(`http://127.0.0.1:${port}/`);
    }, 60);

    const text = 'Every word arrives as it is published. ';

    await page.goto(`http://127.0.0.1:${port}/?chat=${turn}`);
    await shows([], 'ready');

    for (const n of [1, 2]) {
      const all = Array.from({ length: n }, (_, i) => [`${i + 1}?`, text]).flat();

      await send(`${n}?`);
      await shows(all, 'ready');

      // what it has stored is what the page has shown

      await page.reload();
      await answered(2 * n + 1);
      await shows(all, 'ready');
    }

    assert.deepEqual(requests.at(-1), [204, '1', null]);
  } finally {
    sample.kill('SIGKILL');
  }
  assert.equal(output.trim(), `http://127.0.0.1:${port}/`);
});
