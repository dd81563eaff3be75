// Copyright (C) Conduit for NGINX authors
//
// The code of docs/clients.md for readers that are no EventSource of the
// browser, with the packages that it names.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { ORG, World, launch, openContext, waitFor } from './lib.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const doc = fs.readFileSync(path.resolve(here, '../../docs/clients.md'), 'utf8');

let browser;
let world;
let configuration;
let page;
let channel;


before(async () => {
  world = await World.start();
  configuration = world.nginx.text;
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await world?.stop();
});

beforeEach(async () => {
  channel = crypto.randomUUID();
  page = await (await openContext(browser)).newPage();
  await page.goto(`${world.pageUrl}blank`);
  await page.evaluate(([url, id, token]) => {
    Object.assign(window, { url, channel: id, token, got: [] });
  }, [`${world.gatewayUrl}/events/${ORG}`, channel,
    world.gatewayToken(ORG, channel)]);
});

afterEach(async () => {
  await page.context().close();
  if (world.nginx.text !== configuration) {
    world.nginx.configure(configuration);
    await world.nginx.reload();
  }
  assert.deepEqual(world.nginx.alarms(), []);
});


// The first code of a section.

function code(heading) {
  const section = doc.split(`\n## ${heading}\n`)[1];

  assert.ok(section, `docs/clients.md has a section ${heading}`);
  return section.match(/```js\n(.*?)```/s)[1];
}

async function publishAll(from, to, last = 'DELTA') {
  for (let n = from; n <= to; n++) {
    await world.publish({ channel, phase: n === to ? last : 'DELTA', sequence: n,
      payload: { n } });
  }
}

async function shows(count) {
  await page.waitForFunction((n) => window.got.length >= n, count);
  assert.deepEqual(await page.evaluate(() => window.got),
    Array.from({ length: count }, (_, i) => i + 1));
}

// Requests for the events that were logged, which is when they end.

function ended() {
  return world.nginx.eventRequests(channel).length;
}


test('event-source-polyfill: a header, and nothing lost by a reload', async () => {
  await page.addScriptTag({ path: path.join(here,
    'node_modules/event-source-polyfill/src/eventsource.js') });
  await page.addScriptTag({ content: `${code('event-source-polyfill')}
    source.addEventListener('stream', ({ data }) => {
      window.got.push(JSON.parse(data).payload.n);
    });` });

  await publishAll(1, 20);
  await shows(20);
  await Promise.all([world.nginx.reload(), publishAll(21, 40)]);
  await shows(40);
  await waitFor('the first response has ended', () => ended() > 0);
  assert.doesNotMatch(fs.readFileSync(path.join(world.tmp,
    'nginx/logs/access.log'), 'utf8'), /token/);
});


test('fetch-event-source: comes back after a reload and a 401', async () => {
  const lib = path.join(here,
    'node_modules/@microsoft/fetch-event-source/lib/esm');

  await page.route(`${world.pageUrl}lib/*`, (route) => route.fulfill({
    contentType: 'text/javascript',
    path: path.join(lib, `${path.basename(route.request().url())}.js`),
  }));
  await page.exposeFunction('mint', () => world.gatewayToken(ORG, channel,
    { jti: crypto.randomUUID() }));
  await page.addScriptTag({ type: 'module', content: `
    import { fetchEventSource } from '/lib/index';

    const { url, channel } = window;
    const show = ({ n }) => window.got.push(n);

    const token = () => window.mint();

    ${code('@microsoft/fetch-event-source')}
    window.done = true;` });

  await publishAll(1, 20);
  await shows(20);
  await Promise.all([world.nginx.reload(), publishAll(21, 40)]);
  await shows(40);
  await waitFor('the first response has ended', () => ended() > 0);

  // its tokens are refused for a while

  const { publicKey } = crypto.generateKeyPairSync('rsa',
    { modulusLength: 2048 });

  fs.writeFileSync(path.join(world.tmp, 'other.pem'),
    publicKey.export({ type: 'spki', format: 'pem' }));
  world.nginx.replace([['gateway.pem', 'other.pem']]);
  await world.nginx.reload();
  await waitFor('it is refused twice', () => world.nginx.accessLog()
    .filter((line) => line === `GET /events/${ORG} 401 ${channel}`).length > 1);
  world.nginx.configure(configuration);
  await world.nginx.reload();

  await publishAll(41, 60, 'END');
  await shows(60);
  await page.waitForFunction(() => window.done);
  assert.equal(await page.evaluate(() => window.got.length), 60);
});
