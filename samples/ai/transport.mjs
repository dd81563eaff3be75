// A transport for useChat() whose answers come from NGINX, and go on after a
// reload of the page, a broken connection or a reload of NGINX:
//
//     useChat({ id, messages, resume: true,
//               transport: conduitTransport({ api: '/api/chat', turn,
//                                             events: '/answers' }) })
//
// api     your application.  A POST to it begins an answer, a "turn", and returns
//         {"turn": "<UUID>"}, the stream that the answer is published to
// turn    the chat's last turn, which your application has stored, or undefined:
//         if its answer is still under way, a page that is loaded shows it
// events  the location in NGINX; it gets the arguments id and resume
//
// The SDK reads an answer with fetch(), which does not come back by itself when a
// response ends early, as an EventSource does: follow() does that.

import { DefaultChatTransport } from 'ai';

export function conduitTransport({ api, events, turn }) {
  const url = () => `${events}?${new URLSearchParams({ id: turn ?? 'none' })}`;

  return new DefaultChatTransport({
    api,

    // "resume" asks NGINX for 204 when the turn has ended: the SDK takes that for
    // "nothing to resume" (conduit_gateway_resume_only $arg_resume).

    prepareReconnectToStreamRequest: () => ({ api: `${url()}&resume=1` }),

    async fetch(input, init) {
      if (init.method !== 'POST') {
        return follow(input, init);
      }

      const response = await fetch(input, init);

      if (!response.ok) {
        return response;
      }

      ({ turn } = await response.json());
      return follow(url(), { signal: init.signal });
    },
  });
}

// One response for a whole answer, made of as many as it takes.

async function follow(url, init) {
  const response = await fetch(url, init);

  if (response.status !== 200) {
    return response;
  }

  const encoder = new TextEncoder();
  const answer = events(response, url, init);

  return new Response(new ReadableStream({
    async pull(controller) {
      const { value, done } = await answer.next();

      if (done) {
        controller.close();
      } else {
        controller.enqueue(encoder.encode(value));
      }
    },
    cancel: () => answer.return(),
  }));
}

async function* events(response, url, init) {
  let position; // ID of the last event: what follows it is asked for
  let failures = 0;

  for (;;) {
    let text = '';

    try {
      for await (const part of texts(response.body)) {
        text += part;

        // an event ends with an empty line; half an event is never handed on

        for (let end; (end = text.indexOf('\n\n')) >= 0;
          text = text.slice(end + 2)) {
          const event = text.slice(0, end + 2);

          if (/^event: control$/m.test(event)
              && event.includes('"history_lost"')) {
            throw new Lost('a part of the answer is no longer there');
          }

          if (!/^event: /m.test(event) && /^data/m.test(event)) {
            yield event;
            failures = 0;
          }

          position = /^id: (.*)$/m.exec(event)?.[1] ?? position;

          if (/^data: \[DONE\]$/m.test(event)) {
            return;
          }
        }
      }
    } catch (error) {
      if (init.signal?.aborted || error instanceof Lost) {
        throw error;
      }
    }

    // The response has ended before the answer: NGINX was reloaded, a proxy has a
    // time limit, the network is another one.

    do {
      await new Promise((resolve) => setTimeout(resolve,
        Math.min(500 * 2 ** failures++, 10000) * (0.5 + Math.random() / 2)));
      init.signal?.throwIfAborted();

      response = await fetch(url, { ...init, headers: { ...init.headers,
        ...position && { 'Last-Event-ID': position } } })
        .catch(() => ({ status: 503 }));
    } while (response.status >= 500 || response.status === 429);

    if (response.status === 204) {
      return; // nothing follows: conduit_gateway_after_end stop
    }

    if (response.status !== 200) {
      throw new Error(`the answer does not go on: ${response.status}`);
    }
  }
}

async function* texts(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();

  try {
    for (;;) {
      const { value, done } = await reader.read();

      if (done) {
        return;
      }
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

class Lost extends Error {}
