// Copyright (C) Conduit for NGINX authors
//
// The page of the demo as "make demo" serves it: what a visitor sees first, the
// sample answer, a message of one's own, and what is said when something fails.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { promisify } from 'node:util';

import { Demo, demoLacks } from './demo.mjs';
import { launch, openContext, waitFor } from './lib.mjs';

const options = { skip: demoLacks ? `no ${demoLacks}` : false };
const run = promisify(execFile);

let browser;
let context;
let page;
let demo;
let requests;
let errors;


before(async () => {
  if (!demoLacks) {
    demo = await Demo.start();
    browser = await launch();
  }
});

after(async () => {
  await context?.close();
  await browser?.close();
  await demo?.stop();
});

beforeEach(async () => {
  if (demo) {
    await visit();
  }
});

afterEach(async () => {
  assert.deepEqual(errors, []);
  assert.deepEqual(requests.filter((url) => !/^(data|blob):/.test(url)
    && !url.startsWith(demo.url)), [], 'nothing is asked of other servers');
});


// A new window, at the page.  All windows are of one browser, which remembers
// what channels it has had.

async function visit(settings = {}) {
  const storageState = await context?.storageState();

  await context?.close();
  requests = [];
  errors = [];
  context = await openContext(browser, { storageState,
    viewport: { width: 1280, height: 720 },
    permissions: ['clipboard-read', 'clipboard-write'], ...settings });
  page = await context.newPage();
  page.on('request', (request) => requests.push(request.url()));
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => {
    if (/Content Security Policy/.test(message.text())) {
      errors.push(message.text());
    }
  });
  await page.goto(demo.url);
  await connected();
}

function connected() {
  return page.waitForSelector('#own-state[data-state=open]');
}

// Waits until an element's text matches.

async function says(id, pattern, tab = page) {
  try {
    await tab.waitForFunction(([i, source]) => new RegExp(source).test(
      document.getElementById(i).textContent),
    [id, pattern.source]);
  } catch (error) {
    assert.match(await tab.textContent(`#${id}`), pattern, id);
    throw error;
  }
}

function words(id) {
  return page.locator(`#${id} span`).count();
}

// Plays a sample answer.  When three words are there, they are for the first
// viewer alone; a click more then starts no second play.  What is seen in between
// is noted in the page: whoever asks for it may be too late.

async function play(start) {
  await page.evaluate(() => {
    const [button, first, second] = ['play', 'first', 'second']
      .map((id) => document.getElementById(id));
    const observer = new MutationObserver(() => {
      if (button.textContent !== 'Playing…' || first.childElementCount !== 3) {
        return;
      }
      observer.disconnect();
      window.early = second.childElementCount;
      button.click();
    });

    window.early = undefined;
    observer.observe(first, { childList: true });
  });
  await start();
  await page.waitForFunction(() => window.early !== undefined);
  assert.equal(await page.evaluate(() => window.early), 0);
}

// What the page's own channel has brought.

async function ownMessages(count) {
  await page.waitForFunction((n) =>
    document.getElementById('own-list').childElementCount >= n, count);
  return page.$$eval('#own-list p', (all) =>
    all.map((p) => p.firstElementChild.textContent));
}

// A line of curl, as the button copies it.

async function line(id) {
  await page.evaluate((i) => {
    const button = document.querySelector(`[data-copy=${i}]`);
    const observer = new MutationObserver(() => {
      window.copied ||= button.textContent === 'Copied';
    });

    window.copied = false;
    observer.observe(button, { childList: true });
  }, id);
  await page.click(`[data-copy=${id}]`);
  await page.waitForFunction(() => window.copied);
  return page.evaluate(() => navigator.clipboard.readText());
}

async function shell(text) {
  return (await run('bash', ['-c', text], { timeout: 120000 })).stdout;
}

function published() {
  return requests.filter((url) => url.includes('/publish/')).length;
}

function isWithin(selector) {
  return page.$eval(selector, (element) => {
    const { top, left, right, bottom, width, height }
      = element.getBoundingClientRect();

    return width > 0 && height > 0 && top >= 0 && left >= 0
      && right <= innerWidth && bottom <= innerHeight;
  });
}

function sideways() {
  return page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
}


for (const [device, settings] of [
  ['a desktop', { viewport: { width: 1280, height: 720 } }],
  ['a phone', { viewport: { width: 390, height: 844 }, isMobile: true,
    hasTouch: true }],
]) {

  test(`${device} shows all that counts without scrolling`, options, async () => {
    await visit(settings);

    for (const selector of ['h1', '.lead', '#links a:last-child', '#play',
      '#first', '#second', '#curl-publish', '[data-copy=curl-publish]'])
    {
      assert.ok(await isWithin(selector), selector);
    }
    assert.equal(await page.$eval('#debugger', ({ open }) => open), false);
    assert.match(await page.textContent('.lead'), /NGINX.*browser/s);
  });
}


test('a sample answer, word by word; the second viewer gets all of it', options,
  async () => {
    const seen = new Set();

    await page.focus('#play');
    await play(() => page.keyboard.press('Enter'));
    await says('second-note', /^\d+ \(\d+ replayed\)$/);
    await says('told', /^Done: both viewers have the whole answer/);

    const texts = await page.$$eval('#first, #second', (all) =>
      all.map(({ textContent }) => textContent));
    const [, count] = (await page.textContent('#told')).match(/(\d+) messages/);
    const late = await page.locator('#second .replayed').count();

    assert.match(texts[0], /^Every word of this .* closes the stream\.$/s);
    assert.equal(texts[1], texts[0]);
    assert.equal(await words('first'), Number(count));
    assert.equal(await words('second'), Number(count));
    assert.ok(late >= Math.floor(count / 3) && late < count, `${late} replayed`);
    assert.equal(await page.locator('#first .replayed').count(), 0);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'play');

    // again: in a channel that has not ended, so that all is seen again

    // and the debugger goes along

    await page.click('#debugger > summary');
    await says('state-text', /^stream has ended$/);
    await says('events', new RegExp(`^${count}$`));

    seen.add(await page.getAttribute('#third', 'href'));
    await says('play', /^Play again, in a new channel$/);
    await play(() => page.click('#play'));
    seen.add(await page.getAttribute('#third', 'href'));
    assert.equal(seen.size, 2, 'two channels');

    // one more that watches, in a tab: the debugger alone

    const [third] = await Promise.all([context.waitForEvent('page'),
      page.click('#third')]);

    await says('state-text', /^stream has ended$/, third);
    await says('told', /^Done: both viewers have the whole answer/);
    await third.waitForFunction((text) =>
      document.getElementById('text').textContent === text, texts[0]);
    await says('state-text', /^stream has ended$/);
    await says('events', new RegExp(`^${count}$`));
    await says('last', /^-?\d+ ms$/);
    for (const [id, text] of [['events', count], ['missing', '0'],
      ['repeats', '0'], ['lost', '0']])
    {
      await says(id, new RegExp(`^${text}$`), third);
    }
    assert.ok(await third.isHidden('#welcome'));

    // a tab that is loaded again finds its channel again

    await third.reload();
    await says('events', new RegExp(`^${count}$`), third);
  });


test('what is typed is what is sent', options, async () => {
  const listen = spawn('bash', ['-c', `exec ${await line('curl-listen')}`],
    { stdio: ['ignore', 'pipe', 'ignore'] });
  const ended = new Promise((resolve) => { listen.once('close', resolve); });
  let heard = '';

  listen.stdout.on('data', (data) => { heard += data; });

  try {
    const typed = ['  two  blanks ', '{"list": [null, "x"], "n": 1.50}', '[1]',
      '<b>&amp;</b>'];

    for (const [i, text] of typed.entries()) {
      await page.fill('#own-message', text);
      await page.click('#own-send');
      await ownMessages(i + 1);
      await says('own-reply', new RegExp(
        `^200, stored as \\d+-\\d+, sequence ${i + 1}$`));
      assert.equal(await page.inputValue('#own-message'), '');
    }
    assert.deepEqual(await ownMessages(4),
      [typed[0], '{"list":[null,"x"],"n":1.5}', '[1]', typed[3]]);

    const payloads = () => [...heard.matchAll(/^data: (.*)$/mg)]
      .map(([, data]) => JSON.parse(data).payload);

    await waitFor('curl has all of them', () => payloads().length === 4);
    assert.deepEqual(payloads(), [{ value: typed[0] },
      { list: [null, 'x'], n: 1.5 }, { value: '[1]' }, { value: typed[3] }]);
  } finally {
    listen.kill();
    await ended;
  }

  // what is no JSON is said, and left to be mended

  const before = published();

  await page.fill('#own-message', '{"n": ');
  await page.press('#own-message', 'Enter');
  await says('own-reply', /^It begins with \{ but is no JSON .*Nothing was sent/);
  assert.equal(await page.inputValue('#own-message'), '{"n": ');
  await page.fill('#own-message', '');
  await page.press('#own-message', 'Enter');
  await says('own-reply', /^Nothing is typed/);

  // the debugger's form has the same rules

  await page.click('#debugger > summary');
  await says('state-text', /^connected$/);
  await says('events', /^4$/);
  await page.click('#publisher > summary');
  await page.fill('#message', '{"n": 1,}');
  await page.click('#send');
  await says('reply', /no JSON object.*Nothing was sent/);
  assert.equal(published(), before);

  await page.fill('#message', ' a ');
  await page.fill('#sequence', '9');
  await page.click('#send');
  await says('reply', /^200, stored as \d+-\d+, sequence 9$/);
  await says('missing', /^4$/);
  await page.waitForFunction(() => document.querySelector('#rows tr:last-child')
    .lastElementChild.textContent === '{"value":" a "}');

  // the server's own words for what it refuses

  await page.fill('#message', '{"a": 1, "a": 2}');
  await page.click('#send');
  await says('reply', /^400, .*line 1/);
});


test('what is typed while a message is on its way stays', options, async () => {
  const held = [];
  const isHeld = () => waitFor('a message is on its way', () => held.length);
  const values = (...ids) => Promise.all(ids.map((id) =>
    page.inputValue(`#${id}`)));

  await page.route('**/publish/**', (route) => { held.push(route); });

  await page.fill('#own-message', 'first');
  await page.click('#own-send');
  await isHeld();
  await page.fill('#own-message', 'second');
  await held.pop().continue();
  await says('own-reply', /^200, .* sequence 1$/);
  assert.deepEqual(await values('own-message'), ['second']);

  // what was said of the first message is not left to stand for the second

  await page.click('#own-send');
  await isHeld();
  assert.equal(await page.textContent('#own-reply'), '');
  await held.pop().continue();
  await says('own-reply', /^200, .* sequence 2$/);
  assert.deepEqual(await values('own-message'), ['']);
  assert.deepEqual(await ownMessages(2), ['first', 'second']);

  // in the debugger's form as well, which leaves the focus where it was put

  const form = ['phase', 'sequence', 'message'];

  await page.click('#debugger > summary');
  await page.click('#publisher > summary');
  await page.selectOption('#phase', 'START');
  await page.fill('#sequence', '5');
  await page.fill('#message', 'third');
  await page.click('#send');
  await isHeld();
  await page.selectOption('#phase', 'ERROR');
  await page.fill('#sequence', '6');
  await page.fill('#message', 'fourth');
  await page.focus('#position');
  await held.pop().continue();
  await says('reply', /^200, .* sequence 5$/);
  assert.deepEqual(await values(...form), ['ERROR', '6', 'fourth']);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'position');

  await page.click('#send');
  await isHeld();
  assert.equal(await page.textContent('#reply'), '');
  await held.pop().continue();
  await says('reply', /^200, .* sequence 6$/);
  assert.deepEqual(await values(...form), ['DELTA', '', '']);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'message');
});


test('the lines for curl work as they are shown', options, async () => {
  for (const text of [await line('curl-publish'),
    await page.evaluate(() => {
      getSelection().selectAllChildren(document.getElementById('curl-publish'));
      document.execCommand('copy');
      return navigator.clipboard.readText();
    })])
  {
    assert.match(await shell(text), /^\d+-\d+\n$/);
  }
  assert.deepEqual(await ownMessages(2), ['Hello from curl', 'Hello from curl']);

  // until when

  const [, body] = (await line('curl-publish')).match(/eyJ[^.]*\.([^.]*)\./);
  const { exp } = JSON.parse(Buffer.from(body, 'base64url'));
  const until = await page.evaluate((s) =>
    new Date(s * 1000).toTimeString().slice(0, 5), exp);

  assert.ok(exp - Date.now() / 1000 > 3600, 'for more than an hour');
  assert.match(await page.textContent('#own-until'),
    new RegExp(`^These lines work until ${until} \\(1[12] h\\)$`));

  // a page that is loaded again keeps its channel, and the lines

  const before = await page.textContent('#curl-publish');

  await page.reload();
  await connected();
  assert.equal(await page.textContent('#curl-publish'), before);
  assert.equal((await ownMessages(2)).length, 2);
});


test('after END, a new channel is the next thing to do', options, async () => {
  const isPrimary = (id) => page.$eval(`#${id}`, ({ classList }) =>
    classList.contains('primary'));
  const old = await line('curl-publish');

  await page.click('#debugger > summary');
  await says('state-text', /^connected$/);
  assert.deepEqual([await isPrimary('own-fresh'), await isPrimary('fresh')],
    [false, false]);

  await shell(old.replace('{"payload"', '{"phase": "END", "payload"'));

  for (const [state, button] of [['own-state-text', 'own-fresh'],
    ['state-text', 'fresh']])
  {
    await says(state, /^stream has ended$/);
    assert.ok(await isPrimary(button), button);
    await page.click(`#${button}`);
    await says(state, /^connected$/);
    assert.ok(!await isPrimary(button), button);
  }
  assert.ok(!await isPrimary('connect'));

  const fresh = await line('curl-publish');

  assert.notEqual(fresh, old);
  await shell(fresh);
  assert.deepEqual(await ownMessages(1), ['Hello from curl']);
});


test('more plays than the demo has channels', options, async () => {
  // the clock of the page stands still, and is put forward by hand; what other
  // tests have used is not free again before the rest is

  const channels = await page.evaluate(async () => {
    const { channels: all } = await (await fetch('demo.json')).json();
    const { run: id, value } = JSON.parse(localStorage.getItem('conduit'));
    const own = new URLSearchParams(location.hash).get('channel');

    window.time = Date.now();
    Date.now = () => window.time;
    localStorage.setItem('conduit', JSON.stringify({ run: id,
      value: value.map(([channel, time]) =>
        [channel, channel === own ? time : window.time + 45000]) }));

    return all.length;
  });
  const pass = (seconds) => page.evaluate((s) => { window.time += s * 1000; },
    seconds);

  await pass(45);
  await page.fill('#own-message', 'a');
  await page.click('#own-send');
  await ownMessages(1);

  for (let n = 0; n < channels; n++) {
    const old = await page.textContent('#curl-publish');

    await page.click('#own-fresh');
    await page.waitForFunction((text) => text
      !== document.getElementById('curl-publish').textContent
      || document.getElementById('notice').textContent !== '', old);
  }
  await says('notice', /^All channels of the demo were used/);

  const old = await page.textContent('#curl-publish');

  // a stream lives on for two minutes after its last message

  await pass(110);
  await page.click('#own-fresh');
  await says('notice', /^All channels of the demo were used/);
  assert.equal(await page.textContent('#curl-publish'), old);

  // the channel that is left is not the new one, even if it is not marked

  await page.evaluate(() => {
    const { run: id, value } = JSON.parse(localStorage.getItem('conduit'));
    const own = new URLSearchParams(location.hash).get('channel');

    localStorage.setItem('conduit', JSON.stringify({ run: id,
      value: value.filter(([channel]) => channel !== own) }));
    document.getElementById('own-fresh').click();
  });
  await says('notice', /^All channels of the demo were used/);

  // one that has expired is as good as new

  await pass(100);
  await page.click('#own-fresh');
  await says('notice', /^$/);
  await page.waitForFunction((text) => text
    !== document.getElementById('curl-publish').textContent, old);

  // the page has forgotten which streams there are: a new Redis has none

  await context.close();
  context = undefined;
  await demo.stop();
  demo = await Demo.start(demo.port);
});


test('a gateway that is gone is said in red, until it is back', options,
  async () => {
    await page.click('#debugger > summary');
    await says('state-text', /^connected$/);
    assert.ok(await page.isHidden('#gone'));

    const before = await page.textContent('#curl-publish');

    await page.locator('#twin').scrollIntoViewIfNeeded();
    await demo.stop();
    await says('gone', /^The gateway is gone: nothing answers at http.*make demo/);
    assert.ok(await isWithin('#gone'), 'where the page is scrolled to');
    assert.equal(await page.getAttribute('#gone', 'role'), 'alert');
    await page.fill('#own-message', 'a');
    await page.click('#own-send');
    await says('own-reply', /^Not sent/);

    // another run has other keys

    demo = await Demo.start(demo.port);
    await says('own-reply', /^make demo was started anew/);
    await connected();
    await page.waitForSelector('#gone', { state: 'hidden' });
    assert.notEqual(await page.textContent('#curl-publish'), before);
    await page.click('#own-send');
    assert.deepEqual(await ownMessages(1), ['a']);
  });


test('a screen of 390 pixels is not scrolled sideways', options, async () => {
  for (const width of [390, 320]) {
    await visit({ viewport: { width, height: 664 }, isMobile: true,
      hasTouch: true });
    assert.equal(await sideways(), 0, 'at first');

    await page.click('#debugger > summary');
    await page.click('#publisher > summary');
    await page.fill('#own-message', 'x'.repeat(1000));
    await page.click('#own-send');
    await page.fill('#own-message', `{"${'y'.repeat(1000)}": "${'z '.repeat(300)}"}`);
    await page.click('#own-send');
    await ownMessages(2);
    await says('events', /^2$/);
    assert.equal(await sideways(), 0, 'with the debugger and long messages');
  }
});


test('all of it has a name, and can be reached by the keyboard', options,
  async () => {
    await page.click('#debugger > summary');
    await page.click('#publisher > summary');

    const nameless = await page.$$eval(
      'button, input, select, textarea, a, [tabindex], [role=group]', (all) =>
        all.filter((element) => !(element.getAttribute('aria-label')
          || element.textContent.trim() && !element.matches('select, [tabindex]')
          || [...element.labels ?? []].some((l) => l.textContent.trim())
          || document.getElementById(element.getAttribute('aria-labelledby'))))
          .map(({ outerHTML }) => outerHTML));

    assert.deepEqual(nameless, []);
    assert.deepEqual(await page.$$eval('label, h2', (all) => all
      .filter(({ textContent: t, matches }) => /^Token$/.test(t.trim()))
      .map(({ tagName }) => tagName)), ['H2', 'LABEL'],
    'one card is called "Token", and its field by the same words');
    assert.equal(await page.locator('h1').count(), 1);
    assert.equal(await page.getAttribute('html', 'lang'), 'en');

    // what changes is told

    for (const [selector, role] of [['#told', 'status'], ['#own-state', 'status'],
      ['#own-reply', 'status'], ['#own-list', 'log'], ['#notice', 'alert'],
      ['#gone', 'alert'], ['#state', 'status'], ['#reply', 'status']])
    {
      assert.equal(await page.getAttribute(selector, 'role'), role, selector);
    }

    // in the order of the page, each with a mark

    await page.reload();
    await connected();

    const order = [];

    for (let n = 0; n < 20; n++) {
      await page.keyboard.press('Tab');
      order.push(await page.evaluate(() => {
        const { activeElement: e } = document;

        return getComputedStyle(e).outlineStyle === 'none' ? 'no mark'
          : e.id || e.dataset.copy || e.tagName;
      }));
    }
    assert.deepEqual(order.filter((name) => name !== 'A').slice(0, 10), ['play',
      'first', 'second', 'curl-publish', 'curl-listen', 'own-fresh', 'own-list',
      'own-message', 'own-send', 'SUMMARY']);
  });


// Texts with less contrast than WCAG 2's 4.5:1; what is disabled may have less.

function faint() {
  return page.evaluate(() => {
    const rgba = (color) => color.match(/[\d.]+/g).map(Number);
    const luminance = (color) => {
      const [r, g, b] = rgba(color).slice(0, 3).map((n) => n / 255)
        .map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4));

      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const background = (element) => {
      const { backgroundColor: color } = getComputedStyle(element);

      return rgba(color)[3] === 0 ? background(element.parentElement) : color;
    };
    const found = [];

    const check = (element, pseudo) => {
      const [a, b] = [getComputedStyle(element, pseudo).color,
        background(element)].map(luminance).sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);

      if (ratio < 4.5) {
        found.push(`${element.id || element.className || element.tagName} `
          + `${pseudo ?? ''} ${ratio.toFixed(2)} ${element.textContent.slice(0, 20)}`);
      }
    };

    let checked = 0;

    for (const element of document.body.querySelectorAll('*')) {
      if (!element.checkVisibility() || element.matches(':disabled, script')) {
        continue;
      }
      if ([...element.childNodes].some((node) => node.nodeType === 3
        && node.data.trim()) || element.matches('input, textarea'))
      {
        checked++;
        check(element);
      }
      if (element.placeholder) {
        check(element, '::placeholder');
      }
      if (getComputedStyle(element, '::before').content !== 'none') {
        check(element, '::before');
      }
    }
    return { found, checked };
  });
}

for (const colorScheme of ['light', 'dark']) {

  test(`${colorScheme}: every text has contrast`, options, async () => {
    await visit({ colorScheme });

    const { found, checked } = await faint();

    assert.deepEqual(found, []);
    assert.ok(checked > 20, `${checked} texts`);

    await page.click('#debugger > summary');
    await says('state-text', /^connected$/);
    await page.click('#publisher > summary');

    const send = async (sequence) => {
      await page.click('#send');
      await says('reply', new RegExp(`^200, .* sequence ${sequence}$`));
    };

    for (const [i, phase] of ['START', 'DELTA', 'ERROR'].entries()) {
      await page.selectOption('#phase', phase);
      await send(i + 1);
    }
    for (const [sequence, id, count] of [[9, 'missing', 5],     // a gap
      [7, 'missing', 4],                                        // late
      [7, 'repeats', 1]])                                       // again
    {
      await page.fill('#sequence', String(sequence));
      await send(sequence);
      await says(id, new RegExp(`^${count}$`));
    }
    await page.fill('#sequence', 'x');         // an error
    await page.click('#send');
    await says('reply', /^The sequence is a number/);
    await page.fill('#token', 'x.y');          // refused
    await page.click('#connect');
    await says('state-text', /^refused$/);
    await page.click('#play');
    await page.waitForSelector('#second .replayed:not(:empty)');
    await page.evaluate(() => {
      document.getElementById('gone').textContent = 'gone';
      document.getElementById('gone').hidden = false;
    });
    assert.deepEqual((await faint()).found, []);
  });
}


test('its links lead to the documentation', options, async () => {
  const links = await page.$$eval('#links a', (all) =>
    all.map(({ href }) => href));

  assert.ok(links.length > 3);
  for (const url of links) {
    const response = await fetch(url);

    assert.equal(response.status, 200, url);
    assert.match(response.headers.get('content-type'),
      url.endsWith('/') ? /^text\/html/ : /^text\/plain; charset=utf-8$/);
    assert.match(await response.text(), url.endsWith('/') ? /<a href=/ : /^# /);
  }

  await page.click('#links a:last-child');
  await page.click('text=directives.md');
  await page.waitForFunction(() =>
    document.body.textContent.startsWith('# Directives'));
});
