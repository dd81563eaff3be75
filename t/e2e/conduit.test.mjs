// The published npm client, in a browser, against both modules.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { ORG, World, launch, waitFor } from './lib.mjs';

const PAYLOADS = 60;

let browser;
let context;
let page;
let world;
let channel;


before(async () => {
  world = await World.start();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await world?.stop();
});

beforeEach(async () => {
  channel = crypto.randomUUID();
  context = await browser.newContext();
  page = await context.newPage();
  await page.goto(world.pageUrl);
  await page.waitForFunction(() => window.ready);
});

afterEach(async () => {
  await context.close();
  assert.deepEqual(world.nginx.alarms(), []);
});


function openStream() {
  return page.evaluate(([org, url, id]) => window.open_stream(org, url, id),
    [ORG, world.startUrl, channel]);
}

function received(count) {
  return page.waitForFunction((n) => window.seen.messages.length >= n, count,
    { timeout: 60000 });
}

// number n of a stream: a payload that says which it is

function payload(n) {
  return { n, text: `line ${n}\n"quoted" <é☺>`, list: [n / 4, null, true] };
}

async function publish(from, to, how = (fields) => world.publish(fields)) {
  for (let n = from; n <= to; n++) {
    await how({ channel, phase: 'DELTA', sequence: n, payload: payload(n) });
  }
}

function start() {
  return world.publish({ channel, phase: 'START', sequence: 0 });
}

function end() {
  return world.publish({ channel, phase: 'END', sequence: PAYLOADS + 1 });
}

async function closed() {
  await page.waitForFunction(() => window.seen.closed > 0
                                   && !window.seen.client.isConnected(),
  undefined, { timeout: 60000 });
}

// All payloads, each once, in order, to the application and on the wire.

async function assertComplete() {
  const { messages, wire } = await page.evaluate(() => ({
    messages: window.seen.messages, wire: window.seen.wire,
  }));
  const wanted = Array.from({ length: PAYLOADS }, (_, i) => payload(i + 1));
  const events = wire.filter(({ type }) => type === 'stream');

  assert.deepEqual(messages, wanted);
  assert.deepEqual(events.map(({ data }) => JSON.parse(data).sequence),
    Array.from({ length: PAYLOADS + 2 }, (_, i) => i));
  assert.equal(new Set(events.map(({ id }) => id)).size, events.length);
  assert.equal(JSON.parse(events.at(-1).data).phase, 'PHASE_END');
}


test('messages arrive in order, END closes for good', async () => {
  await openStream();
  await start();
  await publish(1, PAYLOADS);
  await end();
  await closed();
  await assertComplete();

  await waitFor('the request is logged',
    () => world.nginx.eventRequests(channel).length > 0);

  // that nothing comes has no event to wait for: the client would be back
  // after its "retry" of 500 ms, give or take
  await page.waitForTimeout(1500);
  assert.deepEqual(world.nginx.eventRequests(channel),
    [`GET /events/${ORG} 200 ${channel}`]);
  assert.deepEqual(await page.evaluate(() => window.seen.errors), []);
});


test('a stream that is there already is read from its start', async () => {
  await start();
  await publish(1, PAYLOADS);
  await end();
  await openStream();
  await closed();
  await assertComplete();
});


test('a killed NGINX that comes back loses and repeats nothing', async () => {
  await openStream();
  await start();
  await publish(1, 20);
  await received(20);

  await world.nginx.crash();
  await publish(21, 40, (fields) => world.publishElsewhere(fields));
  await world.nginx.run();

  await publish(41, PAYLOADS);
  await end();
  await closed();
  await assertComplete();
  assert.ok((await page.evaluate(() => window.seen.errors)).length > 0,
    'the client noticed the crash');
});


test('a reload moves the client to a new worker', async () => {
  await openStream();
  await start();
  await publish(1, 20);
  await received(20);

  await Promise.all([world.nginx.reload(), publish(21, 40)]);
  await received(40);

  // all may have come before it

  await page.waitForFunction(() => window.seen.wire
    .some(({ type }) => type === 'control'));

  const control = await page.evaluate(() => window.seen.wire
    .filter(({ type }) => type === 'control').map(({ data }) => data));

  assert.equal(control.length, 1);
  assert.equal(JSON.parse(control[0]).event_type, 'control');
  assert.equal(JSON.parse(control[0]).control_type, 'server_draining');

  await publish(41, PAYLOADS);
  await end();
  await page.waitForFunction(() => window.seen.closed === 2);
  await closed();
  await assertComplete();
});
