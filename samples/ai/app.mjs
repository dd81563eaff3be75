// An application with a chat, whose answers go through NGINX:
//
//     CONDUIT_SECRET_FILE=publish.secret node app.mjs
//
// It listens on http://127.0.0.1:3000/ (PORT is another port) and keeps chats in
// memory.  It needs the packages ai (which asks for Node 22), zod, @ai-sdk/react,
// react and react-dom, and the page as a bundle:
//
//     esbuild page.jsx --bundle --format=esm --jsx=automatic --outfile=page.js
//
//     GET  /api/chat?id=CHAT   the chat: messages, the last turn
//     POST /api/chat           begins a turn; useChat() sends id and messages
//
// The process that answers may be another one than the one that is asked, and may
// go on when nobody listens: pages read from NGINX.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

import { convertToModelMessages, simulateReadableStream, streamText,
  toUIMessageStream } from 'ai';
import { MockLanguageModelV4 } from 'ai/test';

import { beginTurn, publishTurn } from './publish.mjs';

const port = Number(process.env.PORT ?? 3000);
const events = process.env.EVENTS_URL ?? 'http://127.0.0.1:8080/answers';

// YOURS: a model, such as openai('gpt-5').  This one always says the same.

const model = new MockLanguageModelV4({
  doStream: async () => ({ stream: simulateReadableStream({ chunks: [
    { type: 'text-start', id: '1' },
    ...'Every word arrives as it is published.'.split(' ').map((word) =>
      ({ type: 'text-delta', id: '1', delta: `${word} ` })),
    { type: 'text-end', id: '1' },
    { type: 'finish', finishReason: { unified: 'stop' },
      usage: { inputTokens: {}, outputTokens: {} } },
  ] }) }),
});

// YOURS: a database, and the check that the user may see the chat.

const chats = new Map();

async function begin({ id, messages }) {
  const chat = { messages, turn: randomUUID() };

  await beginTurn(chat.turn);
  chats.set(id, chat);
  answer(chat).catch((error) => console.error(error));

  return { turn: chat.turn };
}

async function answer(chat) {
  const result = streamText({ model,
    messages: await convertToModelMessages(chat.messages) });

  await publishTurn(chat.turn, toUIMessageStream({
    stream: result.stream,
    originalMessages: chat.messages,
    generateMessageId: randomUUID,
    onFinish: ({ messages }) => { chat.messages = messages; },
  }));
}

const page = `<!DOCTYPE html>
<meta charset="utf-8"><title>A chat</title><link rel="icon" href="data:,">
<div id="chat"></div>
<script type="module" src="page.js"></script>`;

createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  const reply = (status, type, body) => response.writeHead(status,
    { 'Content-Type': type, 'Cache-Control': 'no-store' }).end(body);
  const json = (value) => reply(200, 'application/json', JSON.stringify(value));

  try {
    if (pathname === '/api/chat' && request.method === 'POST') {
      let body = '';

      for await (const part of request.setEncoding('utf8')) {
        body += part;
      }
      json(await begin(JSON.parse(body)));
    } else if (pathname === '/api/chat') {
      json({ messages: [], ...chats.get(searchParams.get('id')), events });
    } else if (pathname === '/') {
      reply(200, 'text/html; charset=utf-8', page);
    } else if (pathname === '/page.js') {
      reply(200, 'text/javascript',
        readFileSync(new URL('page.js', import.meta.url)));
    } else {
      reply(404, 'text/plain', '');
    }
  } catch (error) {
    console.error(error);
    reply(500, 'text/plain', 'no answer\n');
  }
}).listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port}/`));
