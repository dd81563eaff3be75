#!/usr/bin/env python3
"""The endpoint that conduit-client and ../browser/index.html ask for a stream.

    CONDUIT_KEY_FILE=gateway.key python3 start.py

It listens on http://127.0.0.1:3000/ (PORT is another port) and serves the
page, too.  The client POSTs JSON, {"org_id": 1, "run": "..."}: what stands
beside org_id is its "startStreamData".  It expects a 200 with

    {"conduit": {"token": "...", "channel_id": "...", "url": "..."}}

and opens an EventSource on url, with token and channel_id in the query.  It
asks again when its token has expired (event "control", "server_draining").

- A channel for each run, and the same one each time that its client asks: with
  another one the client begins anew, and never sees the rest of the first.
- An error here, a 429 for example, leaves the client without a stream, and it
  does not try again.
- The client adds its position, last_event_id, to the url by itself.
- Of what you publish to the channel, conduit-client hands on the payloads of
  DELTAs alone, and only where the sequence is above that of the message before:
  equal ones are dropped without a word.  publish.py leaves the numbers to the
  server, which counts up by one.
"""

import json
import os
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt  # PyJWT, with cryptography

URL = os.environ.get("CONDUIT_URL", "http://127.0.0.1:8080")
ORG = int(os.environ.get("CONDUIT_ORG", "1"))
PORT = int(os.environ.get("PORT", "3000"))

# The private key: NGINX has the public one (conduit_gateway_jwt_key_file).

KEY = Path(os.environ["CONDUIT_KEY_FILE"]).read_text()
PAGE = Path(__file__).parent.parent / "browser" / "index.html"


def start(request):
    """Answers one POST; request is its JSON."""

    # Here a run's ID is a UUID, and its channel.  Where your runs have numbers:
    #
    #     channel = uuid.uuid5(NAMESPACE, f"run:{number}")
    #
    # with a NAMESPACE that you make up once, uuid.uuid4().

    channel = uuid.UUID(request["run"])

    # YOURS: is the user logged in, and may they see this run?  As it stands,
    # everybody who reaches this endpoint may.  The organization is the one of
    # the user; never take it from the request.

    token = jwt.encode(
        {
            "iss": "sentry",  # conduit_gateway_jwt_issuer
            "aud": "conduit",  # conduit_gateway_jwt_audience
            "org_id": ORG,
            "channel_id": str(channel),
            "exp": int(time.time()) + 600,
        },
        KEY,
        algorithm="RS256",
    )

    return {
        "conduit": {
            "token": token,
            "channel_id": str(channel),
            "url": f"{URL}/events/{ORG}",
        }
    }


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.split("?")[0] == "/":
            self.reply(200, "text/html; charset=utf-8", PAGE.read_bytes())
        else:
            self.reply(404, "text/plain", b"")

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))

        try:
            answer = start(json.loads(self.rfile.read(length)))
        except (ValueError, KeyError, TypeError, AttributeError):
            self.reply(400, "text/plain", b'"run" must be a UUID\n')
            return

        self.reply(200, "application/json", json.dumps(answer).encode())

    def reply(self, status, content_type, body):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    print(f"http://127.0.0.1:{PORT}/", flush=True)
    server.serve_forever()
