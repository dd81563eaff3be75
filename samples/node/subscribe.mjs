// Prints the messages of a channel until its END, with fetch() alone:
//
//     CONDUIT_SUBSCRIBE_TOKEN=... node subscribe.mjs CHANNEL
//
// What was published before and is still kept comes first.  When the connection
// ends before the END (a restart, a network that went away), the next request
// goes on after the last event: nothing is lost, nothing comes twice.

import { setTimeout as sleep } from 'node:timers/promises';

const url = process.env.CONDUIT_URL ?? 'http://127.0.0.1:8080';
const org = process.env.CONDUIT_ORG ?? '1';
const token = process.env.CONDUIT_SUBSCRIBE_TOKEN;

// Yields the lines of a response.  The server sends a comment every 15 seconds,
// so 45 without a byte are a dead connection.

async function* readLines(body, abort) {
  const decoder = new TextDecoder();
  let rest = '';
  let timer;

  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => abort.abort(new Error('silence')), 45000);
  };

  alive();

  try {
    for await (const chunk of body) {
      alive();

      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');

      rest = lines.pop();
      yield* lines;
    }
  } finally {
    clearTimeout(timer);
  }
}

async function* subscribe(channel) {
  let position; // ID of the last event
  let wait = 1000; // before the next try, in milliseconds

  for (let failures = 0; failures < 10; failures++) {
    const abort = new AbortController();

    try {
      const response = await fetch(
        `${url}/events/${org}?channel_id=${channel}`, {
          headers: {
            Authorization: `Bearer ${token}`,
            ...position && { 'Last-Event-ID': position },
          },
          signal: abort.signal,
        });

      // 401, 403: get a new token, and go on from "position"

      if (response.status !== 200) {
        throw Object.assign(new Error(`${response.status} ${
          await response.text()}`), { refused: true });
      }

      failures = 0;

      let event = {};

      for await (const line of readLines(response.body, abort)) {
        if (line !== '') {
          const [, field, value] = line.match(/^([^:]*):? ?(.*)$/s);

          event[field] = value; // a comment is a field without a name
          continue;
        }

        position = event.id ?? position;
        wait = Number(event.retry ?? wait);

        if (event.event === 'stream') {
          yield JSON.parse(event.data);
        } else if (event.event === 'control') {
          console.error(`control: ${event.data}`);
        }
        event = {};
      }
    } catch (error) {
      if (error.refused) {
        throw error;
      }
      console.error(`${error.cause?.message ?? error.message}, trying again`);
    } finally {
      abort.abort();
    }

    await sleep(wait);
  }

  throw new Error('no server');
}

for await (const message of subscribe(process.argv[2])) {
  console.log(message.sequence, message.phase, JSON.stringify(message.payload));

  if (message.phase === 'PHASE_END') {
    break;
  }
}
