// Copyright (C) Conduit for NGINX authors
//
// What "make demo" starts: a Redis, an NGINX and the page, by demo/run.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import { freePort, modules, root, waitFor } from './lib.mjs';

const demoTools = ['curl', 'openssl', 'redis-server'];

export const demoLacks = demoTools.filter((tool) => !process.env.PATH.split(':')
  .some((dir) => fs.existsSync(path.join(dir, tool)))).join(', ');

// Without a port, it takes a free one.

export class Demo {
  static async start(port) {
    const demo = new Demo();

    demo.port = port ?? await freePort();
    demo.output = '';
    demo.child = spawn(path.join(root, 'demo/run'), [], {
      env: { ...process.env, DEMO_PORT: String(demo.port),
        CONDUIT_MODULES: modules },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    demo.ended = new Promise((resolve) => { demo.child.once('close', resolve); });

    for (const stream of [demo.child.stdout, demo.child.stderr]) {
      stream.on('data', (data) => { demo.output += data; });
    }

    try {
      [demo.url] = await waitFor('the demo is ready', () => {
        if (demo.child.exitCode !== null) {
          throw new Error(demo.output);
        }
        return demo.output.match(/http:\/\/127\.0\.0\.1:\d+\/(?=\s)/);
      }, 180);
    } catch (error) {
      await demo.stop();
      throw error;
    }
    return demo;
  }

  async stop() {
    this.child.kill('SIGTERM');
    await this.ended;
  }
}
