// Copyright (C) Conduit for NGINX authors
//
// The published npm client, in a browser, against both modules.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { ORG, World, launch, openContext, waitFor } from './lib.mjs';

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
  world.starts.length = 0;
  world.claims = {};
  context = await openContext(browser);
  page = await context.newPage();
  await page.goto(world.pageUrl);
  await page.waitForFunction(() => window.ready);
});

afterEach(async () => {
  await context.close();
  assert.deepEqual(world.nginx.alarms(), []);
});


// without an id, the start URL mints a channel

function openStream(id = channel) {
  return page.evaluate(([org, url, c]) => window.open_stream(org, url,
    c ?? undefined), [ORG, world.startUrl, id]);
}

function received(count) {
  return page.waitForFunction((n) => window.seen.messages.length >= n, count);
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
                                   && !window.seen.client.isConnected());
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


test('a reload: a start URL that mints channels is not asked again', async () => {
  await openStream(null);
  [channel] = world.starts;
  await start();
  await publish(1, 20);
  await received(20);

  await Promise.all([world.nginx.reload(), publish(21, 40)]);
  await publish(41, PAYLOADS);
  await end();
  await closed();
  await assertComplete();

  assert.deepEqual(world.starts, [channel]);
  assert.equal(await page.evaluate(() => window.seen.closed), 1);

  // both requests are logged when they end: it was moved

  await waitFor('the requests are logged',
    () => world.nginx.eventRequests(channel).length >= 2);
});


test('a reload: a token that has expired is renewed', async () => {
  // the gateway takes it for 15 seconds more, the client's clock is late

  let old;

  world.claims = { get exp() {
    old = Math.floor(Date.now() / 1000) - 45;
    return old;
  } };
  await page.evaluate(() => {
    const { now } = Date;

    window.late = 600000;
    Date.now = () => now() - window.late;
  });

  await openStream();
  await start();
  await publish(1, 20);
  await received(20);

  const token = world.gatewayToken(ORG, channel, { exp: old });

  await waitFor('the token is refused', async () => {
    const abort = new AbortController();
    const { status } = await fetch(`${world.gatewayUrl}/events/${ORG}?${
      new URLSearchParams({ token, channel_id: channel })}`,
    { signal: abort.signal });

    abort.abort();
    return status === 401;
  });

  world.claims = {};
  await page.evaluate(() => { window.late = 0; });

  await Promise.all([world.nginx.reload(), publish(21, 40)]);
  await received(40);

  // all may have come before it

  await page.waitForFunction(() => window.seen.wire
    .some(({ type }) => type === 'control'));

  const control = await page.evaluate(() => window.seen.wire
    .filter(({ type }) => type === 'control'));

  assert.equal(control.length, 1);
  assert.equal(JSON.parse(control[0].data).event_type, 'control');
  assert.equal(JSON.parse(control[0].data).control_type, 'server_draining');
  assert.match(control[0].id, /^\d+-\d+$/, 'with the position of the client');

  await publish(41, PAYLOADS);
  await end();
  await page.waitForFunction(() => window.seen.closed === 2);
  await closed();
  await assertComplete();
  assert.deepEqual(world.starts, [channel, channel]);
});


test('after END, a client that is early gets the next turn', async () => {
  await openStream();
  await start();
  await publish(1, 20);
  await end();
  await closed();

  // as an application does when its user asks on: before there is a START

  for (const turn of [1, 2]) {
    await page.evaluate(() => window.seen.client.connect());
    await page.waitForFunction((n) => window.seen.opened === n + 1, turn);

    const from = 100 * turn;

    await world.publish({ channel, phase: 'START', sequence: from });
    await publish(from + 1, from + 20);
    await world.publish({ channel, phase: 'END', sequence: from + 21 });
    await page.waitForFunction((n) => window.seen.closed === n + 1, turn);
  }

  const { messages, wire, errors } = await page.evaluate(() => window.seen
    && { messages: window.seen.messages, wire: window.seen.wire,
      errors: window.seen.errors });
  const turns = [0, 100, 200].flatMap((from) =>
    Array.from({ length: 20 }, (_, i) => payload(from + i + 1)));

  assert.deepEqual(messages, turns);
  assert.equal(new Set(wire.map(({ id }) => id)).size, wire.length);
  assert.equal(wire.length, 3 * 22, 'nothing is sent twice');
  assert.deepEqual(errors, []);
});


test('after END, a plain EventSource waits, and gets the next turn', async () => {
  await start();
  await end();

  await page.evaluate((url) => {
    window.got = [];
    window.states = [];
    window.source = new EventSource(url);
    window.source.addEventListener('stream', ({ data }) => {
      window.got.push(JSON.parse(data).sequence);
    });
    window.source.onopen = () => window.states.push('open');
    window.source.onerror = () => window.states.push(window.source.readyState);
  }, `${world.gatewayUrl}/events/${ORG}?${new URLSearchParams({
    token: world.gatewayToken(ORG, channel), channel_id: channel })}`);

  // it comes back after its "retry", with the ID of END

  await page.waitForFunction(() => window.states.length === 3);
  await world.publish({ channel, phase: 'START', sequence: 100 });
  await page.waitForFunction(() => window.got.length === 3);

  const { got, states } = await page.evaluate(() => ({ got: window.got,
    states: window.states }));

  assert.deepEqual(got, [0, PAYLOADS + 1, 100]);
  assert.deepEqual(states, ['open', 0, 'open']);
  await page.evaluate(() => window.source.close());
});
