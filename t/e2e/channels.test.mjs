// Copyright (C) Conduit for NGINX authors
//
// contrib/live/channels.html: the channels of all workers, in a browser.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { ORG, World, launch, openContext, root, waitFor } from './lib.mjs';

let browser;
let world;
const sources = [];


before(async () => {
  world = await World.start();
  fs.mkdirSync(path.join(world.nginx.tmp, 'live'));
  fs.copyFileSync(path.join(root, 'contrib/live/channels.html'),
    path.join(world.nginx.tmp, 'live/channels.html'));
  world.nginx.replace([
    ['location /publish/ {', `location /live/ {
            root .;
            types { text/html html; }
        }

        location = /live/channels {
            conduit_gateway_status channels;
        }

        location /publish/ {`],
  ]);
  await world.nginx.reload();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  for (const source of sources) {
    source.abort();
  }
  await world?.stop();
});


// A client of a channel, whose response is read and thrown away.

async function listen(channel) {
  const abort = new AbortController();
  const response = await fetch(`${world.gatewayUrl}/events/${ORG}?${
    new URLSearchParams({ channel_id: channel,
      token: world.gatewayToken(ORG, channel) })}`, { signal: abort.signal });

  sources.push(abort);
  assert.equal(response.status, 200);
  (async () => {
    try {
      for await (const chunk of response.body) {
        assert.ok(chunk);
      }
    } catch {
      // it was aborted
    }
  })();
}


test('the page shows channels, their clients and positions', async () => {
  const page = await (await openContext(browser)).newPage();
  const errors = [];

  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') {
      errors.push(message.text());
    }
  });

  const channel = crypto.randomUUID();
  const other = crypto.randomUUID();

  for (let n = 0; n < 5; n++) {
    await listen(channel);
  }
  await listen(other);
  const id = await world.publish({ channel, phase: 'DELTA', sequence: 1 });

  await page.goto(`${world.gatewayUrl}/live/channels.html`);

  // a worker that has not been asked yet is met with one of the next questions

  const rows = await waitFor('all clients are shown, and have it', async () => {
    const found = await page.evaluate(() =>
      [...document.querySelectorAll('#rows tr')].map((tr) =>
        [...tr.cells].map((td) => td.textContent)));

    return found.reduce((sum, cells) => sum + Number(cells[2]), 0) === 6
      && found[0].slice(3, 7).join() === ['0', '0', id, '0'].join() && found;
  });

  assert.deepEqual(rows[0].slice(0, 7),
    [String(ORG), channel, '5', '0', '0', id, '0']);
  assert.deepEqual(rows[1].slice(0, 3), [String(ORG), other, '1']);
  assert.match(await page.textContent('#summary'), /of 2 workers/);
  assert.equal(await page.textContent('#problem'), '');
  assert.ok(!(await page.content()).includes('eyJ'));
  assert.deepEqual(errors, []);
});
