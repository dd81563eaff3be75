// Copyright (C) Conduit for NGINX authors
//
// The write side of the Durable Streams protocol, as far as the conformance
// tests need it to test reading: PUT, POST and DELETE become commands of Redis,
// GET, HEAD and OPTIONS go to NGINX as they are.
//
// A stream is a Redis stream: an entry for each message, its value in the field
// "data", "end" in the entry that closes it.  What Redis does not keep (type,
// TTL, last Stream-Seq) is in memory here.  There are no idempotent producers and
// no forks.

import http from 'node:http';
import net from 'node:net';

const SECURITY = {
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'cross-origin',
};


// --- a connection to Redis; replies come in the order of the commands

export class Redis {
  constructor(port) {
    this.socket = net.connect(port, '127.0.0.1');
    this.socket.setNoDelay();
    this.input = Buffer.alloc(0);
    this.waiting = [];

    this.socket.on('data', (data) => {
      this.input = Buffer.concat([this.input, data]);

      for (;;) {
        const found = this.parse(0);
        if (!found) {
          return;
        }
        this.input = this.input.subarray(found.end);
        const { resolve, reject } = this.waiting.shift();
        if (found.value instanceof Error) {
          reject(found.value);
        } else {
          resolve(found.value);
        }
      }
    });
    this.socket.on('error', (error) => {
      for (const { reject } of this.waiting.splice(0)) {
        reject(error);
      }
    });
  }

  command(...args) {
    const parts = [Buffer.from(`*${args.length}\r\n`)];

    for (const arg of args) {
      const bytes = Buffer.isBuffer(arg) ? arg : Buffer.from(String(arg));
      parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes,
        Buffer.from('\r\n'));
    }

    this.socket.write(Buffer.concat(parts));
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
    });
  }

  // The reply at an offset of the input, or null when it is not complete.

  parse(from) {
    const eol = this.input.indexOf('\r\n', from);
    if (eol < 0) {
      return null;
    }

    const line = this.input.toString('utf8', from + 1, eol);
    const end = eol + 2;

    switch (String.fromCharCode(this.input[from])) {
      case '+':
        return { value: line, end };
      case '-':
        return { value: new Error(line), end };
      case ':':
        return { value: Number(line), end };
      case '$': {
        const length = Number(line);
        if (length < 0) {
          return { value: null, end };
        }
        if (this.input.length < end + length + 2) {
          return null;
        }
        return { value: this.input.toString('utf8', end, end + length),
          end: end + length + 2 };
      }
      default: {
        const list = [];
        let at = end;

        for (let i = 0; i < Number(line); i++) {
          const item = this.parse(at);
          if (!item) {
            return null;
          }
          list.push(item.value);
          at = item.end;
        }
        return { value: list, end: at };
      }
    }
  }

  close() {
    this.socket.destroy();
  }
}


// --- what a request says

const isTrue = (value) => value?.toLowerCase() === 'true';

const mediaType = (value) => value.split(';')[0].trim().toLowerCase();

function offset(id) {
  const [ms, seq] = id.split('-');

  return `${ms.padStart(20, '0')}-${seq.padStart(20, '0')}`;
}

// The messages of a body; null when it is none.

function messages(type, body) {
  if (type !== 'application/json') {
    return [body];
  }

  try {
    const value = JSON.parse(body.toString('utf8'));

    return (Array.isArray(value) ? value : [value])
      .map((message) => Buffer.from(JSON.stringify(message)));
  } catch {
    return null;
  }
}

// How long a new stream lives: {} for ever, or null when the headers are wrong.

function lifetime(headers) {
  const ttl = headers['stream-ttl'];
  const expires = headers['stream-expires-at'];

  if (ttl !== undefined && expires !== undefined) {
    return null;
  }
  if (ttl !== undefined) {
    return /^(0|[1-9]\d*)$/.test(ttl) ? { ttl: Number(ttl) } : null;
  }
  if (expires !== undefined) {
    const at = Date.parse(expires);
    return Number.isNaN(at) ? null : { at };
  }
  return {};
}


// --- the server

export class Shim {
  // Starts it in front of NGINX; location(type) is the path of the location for
  // streams of a type.

  static async start({ redisPort, nginxPort, location }) {
    const shim = new Shim();

    Object.assign(shim, { nginxPort, location, streams: new Map() });
    shim.redis = new Redis(redisPort);
    shim.server = http.createServer((request, response) => {
      shim.handle(request, response).catch((error) => {
        if (!response.headersSent) {
          response.writeHead(500);
        }
        response.end(String(error));
      });
    });

    // the tests' machine may be so busy that a pause is longer than that
    shim.server.keepAliveTimeout = 0;

    await new Promise((resolve, reject) => {
      shim.server.once('error', reject);
      shim.server.listen(0, '127.0.0.1', resolve);
    });
    shim.url = `http://127.0.0.1:${shim.server.address().port}`;
    return shim;
  }

  async stop() {
    this.redis.close();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  async handle(request, response) {
    const { pathname } = new URL(request.url, 'http://shim');

    if (!['PUT', 'POST', 'DELETE'].includes(request.method)) {
      this.forward(request, response, pathname);
      return;
    }

    const parts = [];

    for await (const part of request) {
      parts.push(part);
    }

    const [status, headers = {}, text = ''] = await this.write(
      request.method, pathname, request.headers, Buffer.concat(parts));

    response.writeHead(status, { ...SECURITY, ...headers });
    response.end(text);
  }

  // What is left of a stream: nothing when it has expired in Redis.

  async find(path) {
    const stream = this.streams.get(path);

    if (stream && await this.redis.command('EXISTS', `ds:${path}`) === 0) {
      this.streams.delete(path);
      return undefined;
    }
    return this.streams.get(path);
  }

  async write(method, path, headers, body) {
    const stream = await this.find(path);

    if (method === 'PUT') {
      return stream ? this.again(stream, headers)
        : this.create(path, headers, body);
    }
    if (!stream) {
      return [404];
    }
    if (method === 'DELETE') {
      this.streams.delete(path);
      await this.redis.command('DEL', `ds:${path}`);
      return [204];
    }
    return this.append(stream, headers, body);
  }

  // PUT of a stream that is there

  again(stream, headers) {
    const life = lifetime(headers);
    const type = headers['content-type'] ?? 'application/octet-stream';

    return life && mediaType(type) === mediaType(stream.type)
        && life.ttl === stream.life.ttl && life.at === stream.life.at
        && isTrue(headers['stream-closed']) === stream.closed
      ? [200, this.state(stream)] : [409];
  }

  async create(path, headers, body) {
    const type = headers['content-type'] ?? 'application/octet-stream';
    const life = lifetime(headers);
    const list = body.length ? messages(mediaType(type), body) : [];

    if (!life || !list) {
      return [400];
    }

    const key = `ds:${path}`;
    const stream = { key, type, life, closed: false, tail: '0-0' };

    this.streams.set(path, stream);

    // a stream without entries is made with a group
    this.redis.command('XGROUP', 'CREATE', key, 'g', '$', 'MKSTREAM');
    await this.redis.command('XGROUP', 'DESTROY', key, 'g');
    await this.add(stream, list, isTrue(headers['stream-closed']));

    return [201, { ...this.state(stream),
      Location: `http://${headers.host}${path}` }];
  }

  async append(stream, headers, body) {
    const close = isTrue(headers['stream-closed']);
    const seq = headers['stream-seq'];

    if (stream.closed) {
      return close && !body.length ? [204, this.state(stream)]
        : [409, this.state(stream)];
    }
    if (!body.length && close) {
      await this.add(stream, [], true);
      return [204, this.state(stream)];
    }
    if (!body.length || headers['content-type'] === undefined) {
      return [400];
    }
    if (mediaType(headers['content-type']) !== mediaType(stream.type)) {
      return [409];
    }

    const list = messages(mediaType(stream.type), body);

    if (!list?.length) {
      return [400];
    }
    if (seq !== undefined) {
      if (stream.seq !== undefined && seq <= stream.seq) {
        return [409];
      }
      stream.seq = seq;
    }

    await this.add(stream, list, close);
    return [204, this.state(stream)];
  }

  // Adds entries, at once; the last one closes the stream.

  async add(stream, list, close) {
    const { key, life } = stream;
    const replies = [];

    stream.closed ||= close;

    this.redis.command('MULTI');
    for (const [i, message] of list.entries()) {
      const last = close && i === list.length - 1;
      this.redis.command('XADD', key, '*', 'data', message,
        ...(last ? ['end', '1'] : []));
    }
    if (close && !list.length) {
      this.redis.command('XADD', key, '*', 'end', '1');
    }
    if (life.ttl !== undefined) {
      this.redis.command('PEXPIRE', key, life.ttl * 1000);
    }
    if (life.at !== undefined) {
      this.redis.command('PEXPIREAT', key, life.at);
    }
    replies.push(...await this.redis.command('EXEC'));

    const id = replies.filter((reply) => typeof reply === 'string').at(-1);
    const after = (a, b) => offset(a) > offset(b);

    if (id && after(id, stream.tail)) {
      stream.tail = id;
    }
  }

  state(stream) {
    return {
      'Content-Type': stream.type,
      'Stream-Next-Offset': offset(stream.tail),
      ...(stream.closed ? { 'Stream-Closed': 'true' } : {}),
    };
  }

  // GET and the like

  forward(request, response, path) {
    const type = mediaType(this.streams.get(path)?.type ?? 'text/plain');
    const upstream = http.request({
      host: '127.0.0.1',
      port: this.nginxPort,
      method: request.method,
      path: `${this.location(type)}${request.url}`,
      headers: request.headers,
      agent: false,
    });

    upstream.on('response', (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      response.flushHeaders();
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    });
    upstream.on('error', () => response.destroy());
    response.on('close', () => upstream.destroy());
    upstream.end();
  }
}
