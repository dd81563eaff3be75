// The page of app.mjs: a chat with useChat(), whose answers come from NGINX.

import { useChat } from '@ai-sdk/react';
import { useState } from 'react';
import { createRoot } from 'react-dom/client';
import { conduitTransport } from './transport.mjs';

// The chat is in the page's address, ?chat=UUID.

const id = new URLSearchParams(location.search).get('chat')
  ?? crypto.randomUUID();

history.replaceState(null, '', `?chat=${id}`);

// What your application has stored: the messages, and the last turn.

const { messages: stored, turn, events } =
  await (await fetch(`api/chat?id=${id}`)).json();

function Chat() {
  const [text, setText] = useState('');
  const { messages, sendMessage, status, error, stop } = useChat({
    id,
    messages: stored,
    resume: true,
    transport: conduitTransport({ api: 'api/chat', events, turn }),
  });

  return <>
    {messages.map((message) => <p key={message.id} className={message.role}>
      {message.parts.map((part) => part.type === 'text' ? part.text : '')}
    </p>)}
    <form onSubmit={(e) => {
      e.preventDefault();
      sendMessage({ text });
      setText('');
    }}>
      <input value={text} onChange={(e) => setText(e.target.value)} />
      <button disabled={status !== 'ready'}>Send</button>
      <button type="button" onClick={stop}>Stop</button>
    </form>
    <small id="status">{status}</small> <small id="error">{error?.message}</small>
  </>;
}

createRoot(document.getElementById('chat')).render(<Chat />);
