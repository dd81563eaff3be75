// Copyright (C) Conduit for NGINX authors
//
// A page of another origin, against nginx.conf.example: what a browser lets it
// do, with an EventSource and with fetch().

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { ORG, World, launch, message, openContext, waitFor } from './lib.mjs';

let browser;
let context;
let page;
let world;
let channel;
let token;


before(async () => {
  world = await World.start({ example: true });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await world?.stop();
});

beforeEach(async () => {
  channel = crypto.randomUUID();
  token = world.gatewayToken(ORG, channel);
  context = await openContext(browser);
  page = await context.newPage();
  await page.goto(`${world.pageUrl}blank`);
  assert.notEqual(new URL(world.pageUrl).origin, world.gatewayUrl);
});

afterEach(async () => {
  await context.close();
  assert.deepEqual(world.nginx.alarms(), []);
});


function eventsUrl(args = {}, org = ORG) {
  return `${world.gatewayUrl}/events/${org}?${
    new URLSearchParams({ channel_id: channel, ...args })}`;
}

function publish(sequence, phase = 'DELTA') {
  return world.publish({ channel, phase, sequence, payload: { n: sequence } });
}

// The preflights of the page: what it asks, and what it is answered.

async function watchPreflights() {
  const session = await context.newCDPSession(page);
  const requests = new Map();

  const entry = (id) => {
    if (!requests.has(id)) {
      requests.set(id, {});
    }
    return requests.get(id);
  };

  const lower = (headers) => Object.fromEntries(Object.entries(headers)
    .map(([name, value]) => [name.toLowerCase(), value]));

  session.on('Network.requestWillBeSent', ({ requestId, request }) => {
    entry(requestId).method = request.method;
  });
  session.on('Network.requestWillBeSentExtraInfo', ({ requestId, headers }) => {
    entry(requestId).asked = lower(headers);
  });
  session.on('Network.responseReceivedExtraInfo',
    ({ requestId, statusCode, headers }) => {
      Object.assign(entry(requestId), { status: statusCode,
        answered: lower(headers) });
    });
  await session.send('Network.enable');

  const all = () => [...requests.values()]
    .filter(({ method, asked, status }) => method === 'OPTIONS' && asked
                                           && status);

  return {
    all,
    first: () => waitFor('a preflight', () => all()[0]),
  };
}

// fetch() in the page; gives what the page may read, or the name of the error.

function pageFetch(url, options = {}) {
  return page.evaluate(async ([u, o]) => {
    try {
      const body = o.bytes && new Uint8Array(o.bytes);
      const response = await fetch(u, { ...o, body });

      return { status: response.status, text: await response.text() };
    } catch (error) {
      return { error: error.name };
    }
  }, [url, options]);
}

// Reads the stream in the page until it has brought some events.

function pageStream(url, headers, count) {
  return page.evaluate(async ([u, h, n]) => {
    const abort = new AbortController();
    const response = await fetch(u, { headers: h, signal: abort.signal });
    const reader = response.body.pipeThrough(new TextDecoderStream())
      .getReader();
    let text = '';
    let found = [];

    while (found.length < n) {
      const { done, value } = await reader.read();

      if (done) {
        break;
      }
      text += value;
      found = [...text.matchAll(/^data: (.*)\n\n/mg)]
        .map(([, data]) => JSON.parse(data).sequence);
    }
    abort.abort();

    return { status: response.status, sequences: found,
      type: response.headers.get('Content-Type') };
  }, [url, headers, count]);
}

function requestsLogged(method, status) {
  return world.nginx.accessLog().filter((line) =>
    line.includes(`"${method} /events/${ORG} HTTP/1.1" ${status} `)
    && line.includes(`channel=${channel} `));
}


test('an EventSource of another origin gets the events', async () => {
  const preflights = await watchPreflights();

  await page.evaluate((url) => {
    window.got = [];
    window.source = new EventSource(url);
    window.source.addEventListener('stream', ({ data }) => {
      window.got.push(JSON.parse(data).payload.n);
    });
  }, eventsUrl({ token }));

  await publish(0, 'START');
  await publish(1);
  await page.waitForFunction(() => window.got.length === 2);
  assert.deepEqual(await page.evaluate(() => window.got), [0, 1]);
  assert.equal(await page.evaluate(() => window.source.readyState), 1);
  assert.deepEqual(preflights.all(), []);
});


test('fetch() with the token in a header, after a preflight', async () => {
  const preflights = await watchPreflights();
  const headers = { Authorization: `Bearer ${token}` };

  await publish(0, 'START');
  const id = await publish(1);
  await publish(2);

  assert.deepEqual(await pageStream(eventsUrl(), headers, 3),
    { status: 200, type: 'text/event-stream', sequences: [0, 1, 2] });

  const { asked, status, answered } = await preflights.first();

  assert.equal(asked.origin, new URL(world.pageUrl).origin);
  assert.equal(asked['access-control-request-method'], 'GET');
  assert.equal(asked['access-control-request-headers'], 'authorization');
  assert.equal(asked.authorization, undefined);

  assert.equal(status, 204);
  assert.equal(answered['access-control-allow-origin'], '*');
  assert.match(answered['access-control-allow-methods'], /\bGET\b/);
  assert.match(answered['access-control-allow-headers'], /\bauthorization\b/i);
  assert.match(answered['access-control-allow-headers'], /(^|, *)\*(,|$)/);
  assert.equal(answered['access-control-max-age'], '86400');
  assert.equal(answered['set-cookie'], undefined);

  // the browser keeps the answer: what follows needs no other one, not even
  // with the second header

  assert.deepEqual(await pageStream(eventsUrl(),
    { ...headers, 'Last-Event-ID': id }, 1),
  { status: 200, type: 'text/event-stream', sequences: [2] });
  assert.equal(preflights.all().length, 1);

  await waitFor('both streams are logged',
    () => requestsLogged('GET', 200).length === 2);
  assert.equal(requestsLogged('OPTIONS', 204).length, 1);

  // and so does any other header, such as one of tracing

  assert.deepEqual(await pageStream(eventsUrl(),
    { ...headers, 'X-Trace-Of-Mine': '1' }, 3),
  { status: 200, type: 'text/event-stream', sequences: [0, 1, 2] });
});


test('a page can read why it was refused', async () => {
  const other = crypto.randomUUID();
  const bearer = (value) => ({ headers: { Authorization: `Bearer ${value}` } });
  const expired = world.gatewayToken(ORG, channel,
    { exp: Math.floor(Date.now() / 1000) - 120 });

  for (const [what, url, options, status, text] of [
    ['no token', eventsUrl(), {}, 400, /^Missing token$/],
    ['a channel that is none', eventsUrl({ channel_id: 'x', token }), {}, 400,
      /channel_id/],
    ['a token that is none', eventsUrl({ token: 'x' }), {}, 401,
      /^Invalid token$/],
    ['the same in a header', eventsUrl(), bearer('x'), 401, /^Invalid token$/],
    ['an expired token', eventsUrl({ token: expired }), {}, 401,
      /^Token expired$/],
    ['the same in a header', eventsUrl(), bearer(expired), 401,
      /^Token expired$/],
    ['a token of another channel', eventsUrl({ channel_id: other, token }), {},
      403, /^Invalid token claims$/],
    ['the same in a header', eventsUrl({ channel_id: other }), bearer(token),
      403, /^Invalid token claims$/],
    ['a POST', eventsUrl({ token }), { method: 'POST' }, 405,
      /^Method not allowed$/],
  ]) {
    const answer = await pageFetch(url, options);

    assert.equal(answer.status, status, `${what}: ${JSON.stringify(answer)}`);
    assert.match(answer.text, text, what);
  }
});


test('a page can wait for what follows an end', async () => {
  await publish(0, 'START');
  const id = await publish(1, 'END');
  const stream = pageStream(eventsUrl(),
    { Authorization: `Bearer ${token}`, 'Last-Event-ID': id }, 1);

  await publish(2, 'START');
  assert.deepEqual(await stream,
    { status: 200, type: 'text/event-stream', sequences: [2] });
});


test('a page can read that it has seen the end', async () => {
  const directive = 'conduit_gateway_retry 500ms;';

  await world.nginx.replace([
    [directive, `${directive} conduit_gateway_after_end stop;`],
  ]);
  await world.nginx.reload();

  await publish(0, 'START');
  const id = await publish(1, 'END');
  const options = { headers: { Authorization: `Bearer ${token}`,
    'Last-Event-ID': id } };

  // a worker that has not read the stream yet may say so a little later

  await waitFor('204', async () => {
    const { status } = await pageFetch(eventsUrl(), options);

    assert.ok(status === 200 || status === 204, `status ${status}`);
    return status === 204;
  });
});


test('a page of another origin can not publish', async () => {
  const preflights = await watchPreflights();

  assert.deepEqual(await pageFetch(
    `${world.gatewayUrl}/publish/${ORG}/${channel}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-protobuf',
        Authorization: `Bearer ${world.publishToken()}` },
      bytes: [...message({ channel, phase: 'DELTA', sequence: 1 })],
    }), { error: 'TypeError' });

  const { status, answered } = await preflights.first();

  assert.equal(status, 405);
  assert.equal(answered['access-control-allow-origin'], undefined);
  assert.equal(await world.redis.command('EXISTS', `stream:${ORG}:${channel}`),
    ':0');
});


test('a page over a limit is told to come back', async () => {
  await world.nginx.replace([
    ['limit_conn conduit_org 10000;', 'limit_conn conduit_org 1;'],
  ]);
  await world.nginx.reload();

  await page.evaluate((url) => new Promise((resolve) => {
    window.source = new EventSource(url);
    window.source.onopen = resolve;
  }), eventsUrl({ token }));

  // with a preflight, which has no token and is let in, and without

  const preflights = await watchPreflights();
  const isLater = ({ status, text }) => {
    assert.equal(status, 200);
    assert.match(text, /^retry: [3-7]000\n\n$/);
  };

  isLater(await pageFetch(eventsUrl(),
    { headers: { Authorization: `Bearer ${token}` } }));
  assert.equal((await preflights.first()).status, 204);
  isLater(await pageFetch(eventsUrl({ token })));

  // an EventSource is turned away without being put off for good

  assert.equal(await page.evaluate((url) => new Promise((resolve) => {
    const source = new EventSource(url);

    source.onerror = () => {
      resolve(source.readyState);
      source.close();
    };
  }), eventsUrl({ token })), 0);
});


// --- a token in a cookie

// A page with a cookie for the gateway, which is of another origin; gives what
// an EventSource in it comes to: its events, or its readyState after an error.

async function cookieStream(pageUrl, { withCredentials }) {
  await context.addCookies([{ name: 'conduit', value: token,
    domain: '127.0.0.1', path: '/events', httpOnly: true,
    sameSite: 'Strict' }]);
  await page.goto(pageUrl);
  assert.equal(await page.evaluate(() => document.cookie), '');

  return page.evaluate(([url, init]) => new Promise((resolve) => {
    const got = [];

    window.source = new EventSource(url, init);
    window.source.addEventListener('stream', ({ data }) => {
      got.push(JSON.parse(data).payload.n);
      if (got.length === 2) {
        resolve({ got });
      }
    });
    window.source.onerror = () => {
      resolve({ readyState: window.source.readyState });
      window.source.close();
    };
  }), [eventsUrl(), { withCredentials }]);
}

test('a token in a cookie, for a page of a listed origin', async () => {
  const directive = 'conduit_gateway_retry 500ms;';
  const blank = `${world.pageUrl}blank`;
  const { origin } = new URL(blank);

  await world.nginx.replace([
    [directive, `${directive} conduit_gateway_token $cookie_conduit;
      conduit_gateway_cors https://app.example.com ${origin};
      conduit_gateway_cors_credentials on;`],
  ]);
  await world.nginx.reload();

  await publish(0, 'START');
  await publish(1);

  assert.deepEqual(await cookieStream(blank, { withCredentials: true }),
    { got: [0, 1] });

  // the cookie stays at home unless the page asks for it, and the page may read
  // what that comes to

  assert.deepEqual(await cookieStream(blank, { withCredentials: false }),
    { readyState: 2 });
  assert.deepEqual(await pageFetch(eventsUrl()),
    { status: 400, text: 'Missing token' });

  // fetch(), with a preflight for a header of its own

  const preflights = await watchPreflights();
  const answer = await pageFetch(eventsUrl({ channel_id: crypto.randomUUID() }),
    { credentials: 'include', headers: { 'X-Trace-Of-Mine': '1' } });

  assert.deepEqual(answer, { status: 403, text: 'Invalid token claims' });

  const { asked, answered } = await preflights.first();

  assert.equal(asked.cookie, undefined);
  assert.equal(answered['access-control-allow-origin'], origin);
  assert.equal(answered['access-control-allow-credentials'], 'true');
  assert.equal(answered['access-control-allow-headers'], 'x-trace-of-mine');

  // a page of the same site whose origin is not listed has the cookie sent, and
  // can not read

  const other = new URL(world.startUrl);

  other.pathname = '/blank';
  assert.notEqual(other.origin, origin);
  assert.deepEqual(await cookieStream(other.href, { withCredentials: true }),
    { readyState: 2 });
  assert.deepEqual(await pageFetch(eventsUrl(), { credentials: 'include' }),
    { error: 'TypeError' });
});
