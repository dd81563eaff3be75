# Copyright (C) Conduit for NGINX authors

"""Peers that are not NGINX modules, and servers that are already running."""

import json
import os
import re
import shutil
import subprocess
from urllib.parse import urlsplit

from .processes import Failed, Process, free_port, read
from .servers import KEEP, KEEP_SECONDS, Return200, Server, wait_answers

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Hold(Return200):
    """The backend that tells pushpin to keep a request open and to send it the
    messages of a channel, which is the path."""

    def locations(self):
        return """
        location / {
            default_type text/event-stream;
            add_header Grip-Hold stream;
            add_header Grip-Channel $uri;
            return 200 "";
        }"""

    def describe(self):
        pass


class Pushpin(Server):
    name = "pushpin"
    label = "pushpin"
    about = "passes messages on, keeps none; no tokens"
    package = "pushpin"
    history = False
    at_once = 20         # with more, some get a 502
    libdir = "/usr/lib/pushpin"

    @classmethod
    def missing(cls):
        for program in ("pushpin", "condure", "zurl"):
            if shutil.which(program) is None:
                return f"no {program}"
        return Hold.missing()

    def begin(self):
        hold = Hold(self.dir)
        hold.begin()
        self.others += hold.processes

        port, push = free_port(), free_port()
        run = self.path("run")
        os.mkdir(run)
        self.write("routes", f"* {hold.address}\n")
        internal = read(f"{self.libdir}/internal.conf")
        self.write("internal.conf", internal.replace(
            "/var/run/zurl/", "{rundir}/{ipc_prefix}"))
        self.write("pushpin.conf", f"""[global]
include={self.path("internal.conf")}
rundir={run}
ipc_prefix=bench-
port_offset=0
[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port={port}
logdir={self.dir}
log_level=1
client_buffer_size=8192
client_maxconn=50000
[proxy]
routesfile=routes
[handler]
push_in_spec=ipc://{run}/push
push_in_sub_specs=ipc://{run}/sub
push_in_http_addr=127.0.0.1
push_in_http_port={push}
push_in_http_max_body_size=1000000
command_spec=ipc://{run}/command
stats_spec=ipc://{run}/stats
message_rate=1000000
message_hwm=1000000
""")
        pushpin = Process(["pushpin", f"--config={self.path('pushpin.conf')}"],
                          self.path("pushpin.out"))
        self.processes.append(pushpin)
        pushpin.wait_port(port)
        pushpin.wait_port(push)
        # its processes connect to each other later: until then, requests get
        # a 502
        wait_answers(f"127.0.0.1:{port}", "GET", "/sub/ready")
        self.write_target(
            publish_address=f"127.0.0.1:{push}",
            events_address=f"127.0.0.1:{port}",
            publish="POST /publish/",
            publish_header="Content-Type: application/json",
            publish_body='{"items":[{"channel":"/sub/{channel}","formats":'
                         '{"http-stream":{"content":'
                         '"data: {event_string}\\n\\n"}}}]}',
            events="GET /sub/{channel}")


class Centrifugo(Server):
    name = "centrifugo"
    label = "Centrifugo, Redis"
    redis = True
    history = False      # its plain event streams have no event IDs
    about = ("messages in Redis, told to nodes by its pub/sub; plain event"
             " streams (uni_sse), which can't resume; verifies a key with each"
             " publish")

    @classmethod
    def program(cls):
        return shutil.which("centrifugo") or shutil.which(
            os.path.expanduser("~/go/bin/centrifugo"))

    @classmethod
    def missing(cls):
        if cls.program() is None:
            return "no centrifugo: go install" \
                " github.com/centrifugal/centrifugo/v6@v6.9.1"
        return super().missing()

    @classmethod
    def version(cls):
        try:
            done = subprocess.run(["go", "version", "-m", cls.program()],
                                  check=False, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
        except OSError:
            return "v6"
        found = re.search(r"^\s*mod\s+\S+\s+(\S+)", done.stdout, re.M)
        return found[1] if found else "v6"

    def begin(self):
        port = free_port()
        self.write("config.json", json.dumps({
            "http_server": {"address": "127.0.0.1", "port": str(port)},
            "log": {"level": "error"},
            "http_api": {"key": "bench"},
            "uni_sse": {"enabled": True},
            "client": {"allow_anonymous_connect_without_token": True,
                       "allowed_origins": ["*"]},
            "channel": {"without_namespace": {
                "allow_subscribe_for_client": True,
                "allow_subscribe_for_anonymous": True,
                "history_size": KEEP, "history_ttl": f"{KEEP_SECONDS}s"}},
            "engine": {"type": "redis", "redis": {
                "address": f"redis://127.0.0.1:{self.redis_port}"}},
        }))
        centrifugo = Process(
            [self.program(), "--config", self.path("config.json")],
            self.path("error.log"))
        self.processes.append(centrifugo)
        centrifugo.wait_port(port)
        address = f"127.0.0.1:{port}"
        self.write_target(
            publish_address=address, events_address=address,
            publish="POST /api/publish",
            publish_header=["Content-Type: application/json",
                            "X-API-Key: bench"],
            publish_body='{"channel":"{channel}","data":{event}}',
            events="GET /connection/uni_sse?cf_connect=%7B%22subs%22:%7B%22"
                   "{channel}%22:%7B%7D%7D%7D")


def by_address(text):
    """Makes a class for a server that is already running.  text is
    NAME=URL[,URL]; the second URL is that of the events, if it is another one.
    bench/peers/NAME.target describes the requests; in it, @X@ is replaced by
    the environment variable BENCH_X."""

    name, _, urls = text.partition("=")
    file = os.path.join(HERE, "peers", f"{name}.target")
    parts = [urlsplit(url).netloc for url in urls.split(",")]

    if not os.path.exists(file) or not all(parts):
        raise Failed(f"--peer {text}: no URL, or no {file}")

    def value(match):
        found = os.environ.get(f"BENCH_{match[1]}")
        if found is None:
            raise Failed(f"{file} needs BENCH_{match[1]}")
        return found

    lines = [re.sub(r"@([A-Z_]+)@", value, line) for line in
             read(file).splitlines() if line and not line.startswith("#")]
    told = dict(line[1:].split(" ", 1) for line in lines if line[0] == "!")
    lines = [line for line in lines if line[0] != "!"]

    class Peer(Server):
        history = told.get("history") != "no"
        about = told.get("about", "runs already")

        def begin(self):
            self.write("target", "\n".join([
                f"publish_address {with_port(parts[0])}",
                f"events_address {with_port(parts[-1])}", *lines]) + "\n")

        def pids(self):
            return [int(p) for p in
                    os.environ.get("BENCH_PIDS", "").split()]

    Peer.name = name
    Peer.label = told.get("label", name)

    return Peer


def with_port(host):
    return host if ":" in host else f"{host}:80"
