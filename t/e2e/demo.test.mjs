// Copyright (C) Conduit for NGINX authors
//
// The debugger of the demo's page, which looks into a channel: what it shows of
// it.  The rest of the page is in welcome.test.mjs.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { ORG, World, demoPage, launch, openContext } from './lib.mjs';

const MARKUP = '<img src=x onerror="window.harmed = 1"><script>harmed = 1'
  + '</script><b>&amp;</b>';

let browser;
let context;
let page;
let world;
let channel;
let requests;
let errors;


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
  context = await openContext(browser);
  page = await context.newPage();
  requests = [];
  errors = [];
  page.on('request', (request) => requests.push(request.url()));
  page.on('pageerror', (error) => errors.push(error.message));
});

afterEach(async () => {
  await context.close();
  assert.deepEqual(errors, []);
  assert.deepEqual(world.nginx.alarms(), []);
});


function publish(sequence, payload, phase = 'DELTA') {
  return world.publish({ channel, phase, sequence, payload });
}

async function publishAll(from, to) {
  for (let n = from; n <= to; n++) {
    await publish(n, { value: `word ${n} ` });
  }
}

// Opens the page with a form that is filled.

async function open(args = {}, { connect = true,
  site = `${world.pageUrl}viewer` } = {}) {
  await page.goto(`${site}#${new URLSearchParams({
    gateway: world.gatewayUrl, org: ORG, channel,
    token: world.gatewayToken(ORG, channel), ...args,
  })}${connect ? '&connect' : ''}`);
}

// Waits for what an element says.

async function says(id, text) {
  try {
    await page.waitForFunction(([i, t]) =>
      document.getElementById(i).textContent === t,
    [id, String(text)]);
  } catch (error) {
    assert.equal(await page.textContent(`#${id}`), String(text), id);
    throw error;
  }
}

async function figures(wanted) {
  for (const [id, text] of Object.entries(wanted)) {
    await says(id, text);
  }
}

// The rows of the table, each as its kind and the texts of its cells.

function rows() {
  return page.$$eval('#rows tr', (all) => all.map((row) => ({
    kind: row.dataset.kind,
    cells: [...row.cells].map((cell) => cell.textContent),
  })));
}

// As many rows of a kind as there are to be, see shows().

async function rowsOf(kind, count) {
  await page.waitForFunction(([k, n]) => document.querySelectorAll(
    `#rows tr[data-kind="${k}"]`).length >= n, [kind, count]);
  return (await rows()).filter((row) => row.kind === kind);
}

async function texts(kind) {
  return (await rows()).filter((row) => row.kind === kind)
    .map(({ cells }) => cells.at(-1));
}

// Waits for the texts of all rows of a kind: rows are drawn a moment after
// the state and the notice are.

async function shows(kind, wanted) {
  try {
    await page.waitForFunction(([k, w]) => JSON.stringify(
      [...document.querySelectorAll(`#rows tr[data-kind="${k}"]`)].map(
        (row) => [...row.cells].at(-1).textContent)) === JSON.stringify(w),
    [kind, wanted]);
  } catch (error) {
    assert.deepEqual(await texts(kind), wanted, kind);
    throw error;
  }
}

// Every request went to the page's own server or to the gateway.

function assertNoStranger() {
  const origins = [new URL(world.pageUrl).origin, world.gatewayUrl];

  assert.deepEqual(requests.filter((url) => !/^(data|blob|file):/.test(url)
    && !origins.includes(new URL(url).origin)), []);
}


test('its policy names its script and its style', () => {
  const text = fs.readFileSync(demoPage, 'utf8');

  for (const name of ['script', 'style']) {
    const [, body] = text.match(new RegExp(`<${name}>(.*)</${name}>`, 's'));
    const hash = crypto.createHash('sha256').update(body).digest('base64');

    assert.ok(text.includes(`${name}-src 'sha256-${hash}'`),
      `the page's policy must be: ${name}-src 'sha256-${hash}'`);
  }

  // nothing from elsewhere, nothing that takes text for markup

  assert.doesNotMatch(text, /<(script|link|img|iframe)[^>]*(src|href)="(?!data:)/);
  assert.doesNotMatch(text,
    /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b/);
});


test('events, their figures and the claims of the token', async () => {
  // its time is told in hours, so that it is the same a while later

  await open({ token: world.gatewayToken(ORG, channel,
    { exp: Math.floor(Date.now() / 1000) + 6 * 3600 }) });
  await says('state-text', 'connected');
  await says('reconnects', 0);

  const ids = [await publish(0, undefined, 'START')];
  ids.push(await publish(1, { value: 'hello ' }));
  ids.push(await publish(2, { value: 'world', list: [1, null, true] }));
  await figures({ events: 3, missing: 0, repeats: 0, lost: 0,
    cursor: ids[2], text: 'hello world' });

  const shown = await rowsOf('event', 3);

  assert.deepEqual(shown.map(({ cells }) => [cells[1], cells[2], cells[3],
    cells[5] && JSON.parse(cells[5])]), [
    [ids[0], 'START', '0', ''],
    [ids[1], 'DELTA', '1', { value: 'hello ' }],
    [ids[2], 'DELTA', '2', { value: 'world', list: [1, null, true] }],
  ]);
  for (const { cells } of shown) {
    assert.match(cells[4], /^-?\d+ ms$/, 'an event that was awaited is timed');
  }
  for (const id of ['last', 'min', 'p50', 'p99']) {
    assert.match(await page.textContent(`#${id}`), /^-?\d+ ms$/, id);
  }
  assert.match(await page.textContent('#bytes'), /^\d+ B$/);

  const claims = await page.textContent('#claims');

  for (const claim of ['sentry', 'conduit', String(ORG), channel, 'RS256']) {
    assert.ok(claims.includes(claim), claim);
  }
  assert.match(await page.textContent('#verdict'), /^fits, for 6 h$/);

  await publish(3, undefined, 'END');
  await says('state-text', 'stream has ended');
  assert.ok(!page.url().includes('token'), 'the token left the address bar');
  assertNoStranger();

  // what was there before the connection has no latency

  await page.fill('#position', '');
  await page.click('#clear');
  await page.click('#connect');
  await figures({ events: 4, 'state-text': 'stream has ended', last: '–' });
  assert.ok((await rowsOf('event', 4))
    .every(({ cells }) => cells[4] === 'replayed'));
});


test('gaps, what comes late, what comes again', async () => {
  await open();

  for (const sequence of [1, 2, 5, 3, 5, 6, 8]) {
    await publish(sequence, { n: sequence });
  }
  await figures({ events: 7, missing: 2, repeats: 1 });

  await shows('gap', ['gap: 3 to 4 are missing', 'gap: 7 is missing']);
  await shows('late', ['late  {"n":3}']);
  await shows('repeat', ['sequence published again  {"n":5}']);
});


test('numbers of 64 bits', async () => {
  const big = 2n ** 64n - 1n;

  await open();
  await publish(big - 2n);
  await publish(big);
  await figures({ events: 2, missing: 1 });
  await shows('gap', [`gap: ${big - 1n} is missing`]);
});


test('markup in a message stays text', async () => {
  await open();
  await publish(1, { value: MARKUP, [MARKUP]: MARKUP });
  await figures({ events: 1, text: MARKUP });
  assert.deepEqual(JSON.parse((await rowsOf('event', 1))[0].cells[5]),
    { value: MARKUP, [MARKUP]: MARKUP });

  // in the form and in a token as well

  await page.fill('#token', world.gatewayToken(ORG, channel,
    { iss: MARKUP, [MARKUP]: MARKUP }));
  await page.waitForFunction((text) =>
    document.getElementById('claims').textContent.includes(text), MARKUP);

  assert.equal(await page.$('#rows img, #claims img, #text b'), null);
  assert.equal(await page.evaluate(() => window.harmed), undefined);
});


for (const transport of ['eventsource', 'fetch']) {

  test(`${transport}: reconnects are counted, with their reason`, async () => {
    await open({ transport });
    await says('state-text', 'connected');
    await publishAll(1, 3);
    await says('events', 3);

    await world.nginx.reload();
    await figures({ reconnects: 1, reason: transport === 'fetch'
      ? 'the response ended' : 'the connection ended or broke',
    'state-text': 'connected' });
    await shows('control', []);
    assert.ok(await page.isHidden('#gone'), 'a reload is no failure');

    await publishAll(4, 6);
    await says('events', 6);

    await world.nginx.crash();
    await says('state-text', 'lost, reconnecting');
    await page.waitForSelector('#gone:not([hidden])');
    await world.publishElsewhere({ channel, phase: 'DELTA', sequence: 7 });
    await world.nginx.run();

    await figures({ reconnects: 2, 'state-text': 'connected', events: 7,
      missing: 0, repeats: 0 });
    assert.ok(await page.isHidden('#gone'));
    assert.equal((await texts('state')).filter((text) =>
      text.startsWith('lost: ')).length, 2,
    'one after the reload, and many tries are one loss');

    // by hand is no reconnect

    await page.click('#disconnect');
    await says('state-text', 'disconnected');
    await publish(8);
    await page.click('#connect');
    await figures({ events: 8, reconnects: 2, missing: 0, repeats: 0 });

    // where the token was

    const withToken = requests.filter((url) => url.includes('token='));

    assert.equal(withToken.length > 0, transport === 'eventsource');
    assertNoStranger();
  });


  test(`${transport}: server_draining is followed at once`, async () => {
    world.nginx.replace([['conduit_gateway_drain 500ms;',
      'conduit_gateway_drain 500ms; conduit_gateway_drain_event on;']]);
    await world.nginx.reload();

    await open({ transport });
    await says('state-text', 'connected');
    await publishAll(1, 3);
    await says('events', 3);

    world.nginx.replace([['conduit_gateway_drain_event on;', '']]);
    await world.nginx.reload();
    await figures({ reconnects: 1, reason: 'server_draining',
      'state-text': 'connected' });
    await shows('control', ['control: server_draining']);

    await publishAll(4, 6);
    await figures({ events: 6, missing: 0, repeats: 0 });
  });


  test(`${transport}: history that is lost`, async () => {
    const ids = [];

    for (let n = 1; n <= 10; n++) {
      ids.push(await publish(n));
    }
    await world.redis.command('XTRIM', `stream:${ORG}:${channel}`, 'MAXLEN', '3');

    await open({ transport, last_event_id: ids[1] });
    await figures({ lost: 1, events: 3, cursor: ids[9] });
    await shows('control', ['control: history_lost']);
  });


  test(`${transport}: why it was refused, and that a token does not fit`,
    async () => {
      const now = Math.floor(Date.now() / 1000);

      await open({ transport,
        token: world.gatewayToken(ORG, channel, { exp: now - 3600 }) });
      await figures({ 'state-text': 'refused', verdict: 'expired',
        notice: 'The gateway refused (401): Token expired' });
      await shows('fault', ['refused: 401 Token expired']);

      await page.fill('#token', world.gatewayToken(ORG, crypto.randomUUID()));
      await says('verdict', 'other channel');
      await page.click('#connect');
      await says('notice', 'The gateway refused (403): Invalid token claims');

      await page.fill('#token', world.gatewayToken(ORG + 1, channel));
      await says('verdict', 'other organization');
      await page.fill('#token', 'x.y');
      await says('verdict', 'no JWT');

      await page.fill('#token', world.gatewayToken(ORG, channel));
      await page.click('#connect');
      await says('state-text', 'connected');
      assert.ok(await page.isHidden('#notice'));
    });
}


test('the log as a file, without the token', async () => {
  const token = world.gatewayToken(ORG, channel);

  await open({ token });
  await says('state-text', 'connected');
  await publish(1, { value: 'one' });
  await publish(4, { value: 'four' });
  await says('events', 2);

  const [download] = await Promise.all([page.waitForEvent('download'),
    page.click('#export')]);
  const text = fs.readFileSync(await download.path(), 'utf8');
  const data = JSON.parse(text);

  assert.equal(download.suggestedFilename(), `conduit-${channel}.json`);
  assert.equal(data.channel_id, channel);
  assert.equal(data.token.claims.channel_id, channel);
  assert.deepEqual(data.counters.missing_ranges, [['2', '3']]);
  assert.equal(data.latency_ms.samples, 2);
  assert.deepEqual(data.log.filter(({ kind }) => kind === 'event')
    .map(({ sequence, order, payload }) => [sequence, order, payload.value]),
  [['1', 'next', 'one'], ['4', 'gap', 'four']]);
  for (const part of token.split('.')) {
    assert.ok(!text.includes(part));
  }

  await page.click('#clear');
  await figures({ events: 0, missing: 0, last: '–' });
  assert.deepEqual(await rows(), []);
});


test('from a disk, with the URL of a client', async () => {
  await publish(1, { value: 'one' });
  await page.goto(pathToFileURL(demoPage).href);
  await page.fill('#gateway', `${world.gatewayUrl}/events/${ORG}?${
    new URLSearchParams({ channel_id: channel,
      token: world.gatewayToken(ORG, channel) })}`);
  await page.click('#connect');
  await figures({ events: 1, 'state-text': 'connected' });
  assert.equal(await page.inputValue('#gateway'), world.gatewayUrl);
  assert.equal(await page.inputValue('#org'), String(ORG));

  await page.selectOption('#transport', 'fetch');
  await page.fill('#position', '');
  await page.click('#connect');
  await figures({ events: 2, 'state-text': 'connected', repeats: 0 });
});
