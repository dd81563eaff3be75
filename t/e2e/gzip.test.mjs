// Copyright (C) Conduit for NGINX authors
//
// conduit_gateway_gzip with decoders that are not the tests' own: EventSource in
// Chromium, fetch() of Node, curl --compressed.  Each joins a stream at each
// event, reads on, and sees its end.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import crypto from 'node:crypto';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { ORG, World, launch, openContext, waitFor } from './lib.mjs';

const EVENTS = 10;
const RANDOM = 7;      // the event of that number can't be compressed

let browser;
let world;
let channel;
let url;


before(async () => {
  world = await World.start();
  browser = await launch();
  world.nginx.replace([['conduit_gateway redis:',
    'conduit_gateway_gzip on; conduit_gateway redis:']]);
  await world.nginx.reload();
});

after(async () => {
  await browser?.close();
  await world?.stop();
});

beforeEach(() => {
  channel = crypto.randomUUID();
  url = `${world.gatewayUrl}/events/${ORG}?channel_id=${channel}&token=`
    + world.gatewayToken(ORG, channel);
});

afterEach(() => assert.deepEqual(world.nginx.alarms(), []));


async function publish(n, phase = 'DELTA') {
  await world.publish({ channel, phase, sequence: n, payload: { n,
    text: n === RANDOM ? crypto.randomBytes(3000).toString('base64')
      : ` token ${n}` } });
}

// Publishes one event after the other; before each, a reader comes, and after it,
// all of them have it.  open(from) gives an object with a method numbers().

async function joinAtEach(open) {
  const readers = [];

  for (let n = 1; n <= EVENTS; n++) {
    readers.push(await open());
    await publish(n);
    for (const reader of readers) {
      await waitFor(`event ${n}`, async () => (await reader.numbers()).length
        === n);
    }
  }

  await publish(EVENTS + 1, 'END');

  for (const reader of readers) {
    await waitFor('END', async () => (await reader.numbers()).length
      === EVENTS + 1);
    assert.deepEqual(await reader.numbers(),
      Array.from({ length: EVENTS + 1 }, (_, i) => i + 1));
    await reader.end();
  }
}

function numbersOf(text) {
  return [...text.matchAll(/^data: (.*)$/mg)]
    .map(([, data]) => JSON.parse(data).payload.n);
}


test('Chromium: EventSource reads gzip, joined at each event', async () => {
  const encodings = [];

  await joinAtEach(async () => {
    // a window of its own, as there are six connections for each

    const page = await (await openContext(browser)).newPage();

    page.on('response', (response) => {
      if (response.url().startsWith(url)) {
        encodings.push(response.headers()['content-encoding']);
      }
    });
    await page.goto(`${world.pageUrl}blank`);
    await page.evaluate((address) => {
      window.got = [];
      const source = new EventSource(address);

      source.addEventListener('stream', ({ data }) => {
        const { phase, payload } = JSON.parse(data);

        window.got.push(payload.n);
        if (phase === 'PHASE_END') {
          source.close();
        }
      });
      return new Promise((resolve) => {
        source.onopen = resolve;
      });
    }, url);

    return {
      numbers: () => page.evaluate(() => window.got),
      end: () => page.context().close(),
    };
  });

  assert.deepEqual(encodings, Array(EVENTS).fill('gzip'));
});


test('Node: fetch() reads gzip, joined at each event', async () => {
  await joinAtEach(async () => {
    const response = await fetch(url);
    let text = '';

    assert.equal(response.headers.get('content-encoding'), 'gzip');

    const ended = (async () => {
      const decoder = new TextDecoder();

      for await (const bytes of response.body) {
        text += decoder.decode(bytes, { stream: true });
      }
    })();

    // a wrong checksum is an error

    return { numbers: () => numbersOf(text), end: () => ended };
  });
});


test('curl --compressed reads gzip, joined at each event', async () => {
  await joinAtEach(async () => {
    const child = spawn('curl', ['-svN', '--compressed', url]);
    let text = '';
    let header = '';

    child.stdout.on('data', (bytes) => {
      text += bytes;
    });
    child.stderr.on('data', (bytes) => {
      header += bytes;
    });

    const ended = new Promise((resolve) => {
      child.on('close', resolve);
    });

    await waitFor('the first line', () => text.startsWith('retry:'));
    assert.match(header, /^< Content-Encoding: gzip\r$/m);

    return {
      numbers: () => numbersOf(text),
      end: async () => assert.equal(await ended, 0, header),
    };
  });
});
