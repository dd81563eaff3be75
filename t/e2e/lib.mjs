// Copyright (C) Conduit for NGINX authors
//
// What the browser test needs around it: Redis, NGINX with the two modules, an
// application that starts streams, a publisher.  Everything listens on free
// ports of 127.0.0.1 and is stopped by its process id.

import { spawn } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const here = path.dirname(fileURLToPath(import.meta.url));
export const root = path.resolve(here, '../..');
export const modules = process.env.CONDUIT_MODULES || path.join(root, 'build');
const nginxBinary = process.env.TEST_NGINX_BINARY || '/usr/sbin/nginx';
const redisBinary = process.env.REDIS_SERVER || '/usr/bin/redis-server';

export const ORG = 123;
export const demoPage = path.join(root, 'demo/index.html');

const ISSUER = 'sentry';
const AUDIENCE = 'conduit';
const BLANK = '<!DOCTYPE html><link rel="icon" href="data:,">';
const PHASES = { START: 1, DELTA: 2, END: 3, ERROR: 4 };


// How long anything is waited for, in seconds: it is the end of a test that
// hangs, and far more than a busy machine needs.

const PATIENCE = 120;

// Waits until a condition holds; gives its value.

export async function waitFor(what, condition, seconds = PATIENCE) {
  const deadline = Date.now() + seconds * 1000;

  for (;;) {
    const value = await condition();
    if (value) {
      return value;
    }
    if (Date.now() > deadline) {
      throw new Error(`waited ${seconds}s in vain: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}


// Starts the browser, which knows no host but this one.

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update',
      '--disable-sync',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  });
}

// A window of its own, which waits as long as waitFor() does.

export async function openContext(browser, options) {
  const context = await browser.newContext(options);

  context.setDefaultTimeout(PATIENCE * 1000);
  return context;
}


async function listen(server) {
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  return server.address().port;
}


// Posts over a connection of its own: on one kept alive the request may meet the
// close of a worker that quits, and nobody may send a POST again unasked
// (RFC 9112, 9.3.1).

function post(url, headers, body) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: 'POST', headers, agent: false },
      async (response) => {
        try {
          let text = '';

          for await (const chunk of response.setEncoding('utf8')) {
            text += chunk;
          }
          resolve({ status: response.statusCode, text });
        } catch (error) {
          reject(error);
        }
      });

    request.on('error', reject);
    request.end(body);
  });
}


export async function freePort() {
  const server = net.createServer();
  const port = await listen(server);

  await new Promise((resolve) => server.close(resolve));
  return port;
}


// A child process whose end can be waited for.

function run(log, command, ...args) {
  const fd = fs.openSync(log, 'a');
  const child = spawn(command, args, { stdio: ['ignore', fd, fd] });

  fs.closeSync(fd);
  child.ended = new Promise((resolve) => {
    child.once('exit', resolve);
    child.once('error', resolve);
  });
  return child;
}


async function stop(child, signal = 'SIGTERM') {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill(signal);
  }
  await child.ended;
}


// --- Redis

class Redis {
  static async start(tmp) {
    const redis = new Redis();

    redis.port = await freePort();
    redis.child = run(path.join(tmp, 'redis.log'), redisBinary,
      '--port', String(redis.port), '--bind', '127.0.0.1',
      '--save', '', '--appendonly', 'no', '--dir', tmp);

    await waitFor('redis-server answers', () => redis.command('PING')
      .then((reply) => reply === '+PONG', () => false));
    return redis;
  }

  // Sends one command on a connection of its own; gives the first line of the
  // reply.

  command(...args) {
    const parts = [Buffer.from(`*${args.length}\r\n`)];

    for (const arg of args) {
      const bytes = Buffer.from(arg);
      parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes,
        Buffer.from('\r\n'));
    }

    return new Promise((resolve, reject) => {
      const socket = net.connect(this.port, '127.0.0.1');
      let reply = '';

      socket.on('error', reject);
      socket.on('data', (data) => {
        reply += data;
        if (reply.includes('\r\n')) {
          socket.destroy();
          resolve(reply.split('\r\n')[0]);
        }
      });
      socket.write(Buffer.concat(parts));
    });
  }

  stop() {
    return stop(this.child);
  }
}


// --- NGINX

const user = os.userInfo().uid === 0 ? 'user root;' : '';

// Each change is [what, by what]; a text that does not hold one is not the one
// that was meant.

function replaceAll(text, changes) {
  for (const [from, to] of changes) {
    const changed = typeof from === 'string' ? text.split(from).join(to)
      : text.replace(from, to);

    if (changed === text) {
      throw new Error(`the configuration has no ${from}`);
    }
    text = changed;
  }
  return text;
}


class Nginx {
  static async start(tmp, redisPort, example) {
    const nginx = new Nginx();

    nginx.tmp = path.join(tmp, 'nginx');
    nginx.port = await freePort();

    fs.mkdirSync(path.join(nginx.tmp, 'logs'), { recursive: true });
    nginx.configure(example ? nginx.example(tmp, redisPort)
      : nginx.conf(tmp, redisPort));

    await nginx.run();
    return nginx;
  }

  configure(text) {
    this.text = text;
    fs.writeFileSync(path.join(this.tmp, 'nginx.conf'), text);
  }

  // Replaces something in the configuration, which is to be loaded again.

  replace(changes) {
    this.configure(replaceAll(this.text, changes));
  }

  temp() {
    return ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((name) => `${name}_temp_path temp_${name};`).join('\n    ');
  }

  // nginx.conf.example on free ports, with paths of its own.

  example(tmp, redisPort) {
    fs.mkdirSync(path.join(tmp, 'conf.d'));
    fs.writeFileSync(path.join(tmp, 'conf.d/temp.conf'), this.temp());

    return replaceAll(
      fs.readFileSync(path.join(root, 'nginx.conf.example'), 'utf8'), [
        ['/usr/lib/nginx/modules/', `${modules}/`],
        [/^user www-data;$/m, `${user}\ndaemon off;`],
        ['worker_processes auto;', 'worker_processes 2;'],
        [/^worker_rlimit_nofile .*\n/m, ''],
        ['worker_connections 16384;', 'worker_connections 512;'],
        ['/run/nginx.pid', 'nginx.pid'],
        ['/var/log/nginx/', 'logs/'],
        [/^ *include .*mime\.types;\n/m, ''],
        ['/etc/nginx/conduit/', `${tmp}/`],
        ['/etc/nginx/conf.d/', `${tmp}/conf.d/`],
        ['/etc/nginx/sites-enabled/', `${tmp}/sites-enabled/`],
        ['redis://127.0.0.1:6379', `redis://127.0.0.1:${redisPort}`],
        ['listen 127.0.0.1:8080;', `listen 127.0.0.1:${this.port};`],
      ]);
  }

  conf(tmp, redisPort) {
    return `
load_module ${modules}/ngx_conduit_publish_module.so;
load_module ${modules}/ngx_conduit_gateway_module.so;
${user}
daemon off;
worker_processes 2;
error_log logs/error.log info;
pid nginx.pid;

events {
    worker_connections 512;
}

http {
    ${this.temp()}
    log_format e2e '$request_method $uri $status $arg_channel_id';
    access_log logs/access.log e2e;

    server {
        listen 127.0.0.1:${this.port};

        location /publish/ {
            conduit_publish redis://127.0.0.1:${redisPort};
            conduit_publish_jwt_secret_file ${tmp}/publish.secret;
            conduit_publish_jwt_issuer ${ISSUER};
            conduit_publish_jwt_audience ${AUDIENCE};
            conduit_publish_rate off;
            conduit_publish_idle_ttl 1h;
            conduit_publish_end_ttl 1h;
        }

        location /events/ {
            conduit_gateway redis://127.0.0.1:${redisPort};
            conduit_gateway_jwt_key_file ${tmp}/gateway.pem;
            conduit_gateway_jwt_issuer ${ISSUER};
            conduit_gateway_jwt_audience ${AUDIENCE};
            conduit_gateway_drain 500ms;
        }
    }
}
`;
  }

  async run() {
    this.child = run(path.join(this.tmp, 'logs/output.log'), nginxBinary,
      '-p', this.tmp, '-c', path.join(this.tmp, 'nginx.conf'),
      '-e', path.join(this.tmp, 'logs/error.log'));

    // it accepts before it takes signals; with all its workers, it does

    const [, workers] = this.text.match(/^worker_processes (\d+);/m);

    await waitFor('nginx accepts', async () => {
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new Error(`nginx did not start:\n${this.errorLog()}`);
      }
      return this.workers().length === Number(workers) && this.accepts();
    });
  }

  accepts() {
    return new Promise((resolve) => {
      const socket = net.connect(this.port, '127.0.0.1');
      const answer = (value) => () => {
        socket.destroy();
        resolve(value);
      };

      socket.once('connect', answer(true));
      socket.once('error', answer(false));
    });
  }

  workers() {
    const { pid } = this.child;

    return fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .split(' ').filter(Boolean).map(Number);
  }

  // Kills the master and its workers, each by its id, as a crash would.

  async crash() {
    const workers = this.workers();

    this.child.kill('SIGKILL');
    for (const pid of workers) {
      process.kill(pid, 'SIGKILL');
    }
    await this.child.ended;
    await waitFor('nginx is gone', async () => !await this.accepts());
  }

  // Loads the configuration again; the workers of before are gone after it.

  async reload() {
    const old = this.workers();

    this.child.kill('SIGHUP');
    await waitFor('the old workers leave', () => {
      const now = this.workers();

      return now.length > 0 && !now.some((pid) => old.includes(pid));
    });
  }

  stop() {
    return stop(this.child, 'SIGQUIT');
  }

  // What nobody may cause: a crash, or a fault of the modules themselves.

  alarms() {
    return this.errorLog().split('\n')
      .filter((line) => /\[(alert|emerg)\]|signal 11/.test(line));
  }

  errorLog() {
    return fs.readFileSync(path.join(this.tmp, 'logs/error.log'), 'utf8');
  }

  accessLog() {
    return fs.readFileSync(path.join(this.tmp, 'logs/access.log'), 'utf8')
      .split('\n').filter(Boolean);
  }

  // The requests for a channel's events that have ended.

  eventRequests(channel) {
    return this.accessLog()
      .filter((line) => line.startsWith('GET /events/')
                        && line.endsWith(` ${channel}`));
  }
}


// --- messages

function varint(n) {
  const bytes = [];

  for (n = BigInt(n); n > 127n; n >>= 7n) {
    bytes.push(Number(n & 127n) | 128);
  }
  bytes.push(Number(n));
  return Buffer.from(bytes);
}

function number(field, n) {
  return Buffer.concat([varint(field << 3), varint(n)]);
}

function bytes(field, value) {
  const data = Buffer.from(value);

  return Buffer.concat([varint(field << 3 | 2), varint(data.length), data]);
}

function double(field, n) {
  const data = Buffer.alloc(8);

  data.writeDoubleLE(n);
  return Buffer.concat([varint(field << 3 | 1), data]);
}

// google.protobuf.Value and Struct

function pbValue(value) {
  switch (typeof value) {
    case 'number': return double(2, value);
    case 'string': return bytes(3, value);
    case 'boolean': return number(4, value ? 1 : 0);
    default:
      if (value === null) {
        return number(1, 0);
      }
      return Array.isArray(value)
        ? bytes(6, Buffer.concat(value.map((v) => bytes(1, pbValue(v)))))
        : bytes(5, pbStruct(value));
  }
}

function pbStruct(object) {
  return Buffer.concat(Object.entries(object).map(([key, value]) =>
    bytes(1, Buffer.concat([bytes(1, key), bytes(2, pbValue(value))]))));
}

// A serialized PublishRequest.

export function message({ channel, phase, sequence, payload }) {
  return Buffer.concat([
    bytes(1, channel),
    bytes(2, crypto.randomUUID()),
    bytes(3, number(1, Math.floor(Date.now() / 1000))),
    number(4, PHASES[phase]),
    number(5, sequence),
    payload === undefined ? Buffer.alloc(0) : bytes(6, pbStruct(payload)),
  ]);
}


// --- the application

function token(alg, claims, sign) {
  const part = (object) =>
    Buffer.from(JSON.stringify(object)).toString('base64url');
  const text = `${part({ alg, typ: 'JWT' })}.${part({
    iss: ISSUER, aud: AUDIENCE, exp: Math.floor(Date.now() / 1000) + 600,
    ...claims,
  })}`;

  return `${text}.${sign(text).toString('base64url')}`;
}


// Redis, NGINX, the page with the client, and the "start stream" endpoint, which
// is of another origin than both the page and NGINX.

export class World {

  // With "example", NGINX runs nginx.conf.example.

  static async start({ example = false } = {}) {
    const world = new World();

    world.tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'conduit-e2e-'));
    world.secret = crypto.randomBytes(32).toString('hex');
    world.keys = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });

    // the channel of each POST to the start URL, which mints one where none is
    // asked for; claims of the tokens it gives
    world.starts = [];
    world.claims = {};

    fs.writeFileSync(path.join(world.tmp, 'publish.secret'), world.secret);
    fs.writeFileSync(path.join(world.tmp, 'gateway.pem'),
      world.keys.publicKey.export({ type: 'spki', format: 'pem' }));

    try {
      world.redis = await Redis.start(world.tmp);
      world.nginx = await Nginx.start(world.tmp, world.redis.port, example);
      await world.serve();
    } catch (error) {
      await world.stop();
      throw error;
    }
    return world;
  }

  async serve() {
    const files = {
      '/': ['text/html', 'page.html'],
      '/conduit-client.mjs': ['text/javascript',
        'node_modules/conduit-client/dist/index.mjs'],
      '/viewer': ['text/html', demoPage],
      '/blank': ['text/html', null],
    };

    this.site = http.createServer((request, response) => {
      const [type, name] = files[request.url] ?? [];

      if (!type) {
        response.writeHead(404).end();
        return;
      }
      response.writeHead(200, { 'Content-Type': type });
      response.end(name ? fs.readFileSync(path.resolve(here, name)) : BLANK);
    });

    this.application = http.createServer((request, response) => {
      response.setHeader('Access-Control-Allow-Origin', '*');
      response.setHeader('Access-Control-Allow-Headers', 'Content-Type');

      if (request.method === 'OPTIONS') {
        response.writeHead(204).end();
        return;
      }

      if (request.url === '/blank') {
        response.writeHead(200, { 'Content-Type': 'text/html' })
          .end(BLANK);
        return;
      }

      let body = '';
      request.on('data', (data) => { body += data; });
      request.on('end', () => {
        const { org_id: org,
          channel = crypto.randomUUID() } = JSON.parse(body);

        this.starts.push(channel);
        response.writeHead(200, { 'Content-Type': 'application/json' });
        response.end(JSON.stringify({
          conduit: {
            token: this.gatewayToken(org, channel, this.claims),
            channel_id: channel,
            url: `http://127.0.0.1:${this.nginx.port}/events/${org}`,
          },
        }));
      });
    });

    this.pageUrl = `http://127.0.0.1:${await listen(this.site)}/`;
    this.gatewayUrl = `http://127.0.0.1:${this.nginx.port}`;
    this.startUrl = `http://127.0.0.1:${await listen(this.application)}/start`;
  }

  gatewayToken(org, channel, claims = {}) {
    return token('RS256', { org_id: org, channel_id: channel, ...claims },
      (text) => crypto.sign('sha256', Buffer.from(text), this.keys.privateKey));
  }

  publishToken() {
    return token('HS256', { sub: 'e2e', org_id: ORG }, (text) =>
      crypto.createHmac('sha256', this.secret).update(text).digest());
  }

  // Posts a message to the publish module; gives the ID of its entry.

  async publish(fields) {
    const response = await post(
      `http://127.0.0.1:${this.nginx.port}/publish/${ORG}/${fields.channel}`, {
        'Content-Type': 'application/x-protobuf',
        Authorization: `Bearer ${this.publishToken()}`,
      }, message(fields));
    if (response.status !== 200) {
      throw new Error(`publish: ${response.status} ${response.text}`);
    }
    return response.text;
  }

  // Adds a message as a publisher elsewhere would, while NGINX is down.

  publishElsewhere(fields) {
    return this.redis.command('XADD', `stream:${ORG}:${fields.channel}`, '*',
      'data', message(fields));
  }

  async stop() {
    for (const server of [this.site, this.application]) {
      server?.close();
      server?.closeAllConnections?.();
    }
    await this.nginx?.stop();
    await this.redis?.stop();
    fs.rmSync(this.tmp, { recursive: true, force: true });
  }
}
