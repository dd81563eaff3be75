# Copyright (C) Conduit for NGINX authors

"""A server that makes mistakes on purpose, to check that the generator counts
them."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .servers import Server
from .workloads import Workload

CLIENTS = 2

WORKLOAD = Workload(
    "mistakes", "", "deliver",
    {"channels": 1, "connections": 1, "patience": 3000},
    {"check": {"clients": CLIENTS, "rate": 50, "ms": 400}})

# of 20 messages each client misses the third, gets the fifth twice, and gets
# the eighth before the seventh
EXPECTED = {"lost": CLIENTS, "twice": CLIENTS, "disordered": CLIENTS,
            "events": 20 * CLIENTS, "failed": 0}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.flush()
        self.server.clients.append(self.wfile)
        self.close_connection = True
        self.server.over.wait()

    def do_POST(self):
        event = self.rfile.read(int(self.headers["Content-Length"])).decode()
        frame = f"data: {event}\n\n"
        sequence = json.loads(event)["sequence"]

        if sequence == 3:
            frame = ""
        elif sequence == 5:
            frame += frame
        elif sequence == 7:
            self.server.held, frame = frame, ""
        elif sequence == 8:
            frame += self.server.held

        for client in self.server.clients:
            client.write(frame.encode())
            client.flush()

        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Faulty(Server):
    name = "faulty"
    label = "a server with mistakes"

    def begin(self):
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.clients, self.http.over = [], threading.Event()
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{self.http.server_port}"
        self.write_target(publish_address=address, events_address=address,
                          publish="POST /{channel}", publish_body="{event}",
                          events="GET /{channel}")

    def stop(self):
        self.http.over.set()
        self.http.shutdown()
        self.http.server_close()
