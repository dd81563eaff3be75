# Copyright (C) Conduit for NGINX authors

"""The base class of all servers; Conduit, nchan, and an NGINX that only
returns a constant response."""

import os
import re
import resource
import shutil
import signal
import subprocess
from http.client import HTTPConnection

from .processes import Process, free_port, read, wait_for
from .tokens import SECRET, keys, publisher_token

NGINX = os.environ.get("NGINX_BIN", "/usr/sbin/nginx")
NGINX_MODULES = "/usr/lib/nginx/modules"
MODULES = os.environ.get("CONDUIT_MODULES", os.path.abspath("build"))
EXAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                       "../../nginx.conf.example")
REDIS = os.environ.get("REDIS_SERVER", "redis-server")
WORKERS = os.cpu_count() or 1

KEEP = 1200          # how many messages a channel keeps
KEEP_SECONDS = 120


def wait_answers(address, method, path):
    """Waits until a server has accepted a request many times in a row, so that
    most likely each of its workers is ready."""

    def ready():
        for _ in range(10 * WORKERS):
            c = HTTPConnection(address, timeout=5)
            try:
                c.request(method, path, "x" if method == "POST" else None)
                if c.getresponse().status >= 300:
                    return False
            except OSError:
                return False
            finally:
                c.close()
        return True

    wait_for(f"2xx of {address}{path}", ready)


class Server:
    """A server, and the Redis that it may use.  Subclasses start their own
    processes, and write the file that describes the server to the generator
    (load/target.h)."""

    name = label = ""
    history = True       # a client that comes later gets what it missed
    reloads = False
    only = None          # names of workloads that it is measured by; None: all
    redis = False
    floor = False        # not a peer, but the cost of a part of the work
    about = ""           # what a reader of the comparison should know
    package = ""         # of Debian
    run = None           # another workload that the generator runs instead
    at_once = 200        # clients that may be connecting at the same time

    def __init__(self, folder):
        self.dir = folder
        self.processes = []
        self.store = []
        self.others = []     # processes that are needed, but not measured
        self.target = os.path.join(folder, "target")
        self.redis_port = None

    @classmethod
    def missing(cls):
        """Why the server can't be started on this machine, or None."""
        if cls.redis and shutil.which(REDIS) is None:
            return f"no {REDIS}"
        return None

    @classmethod
    def why_not(cls, workload):
        """Why the server is not measured by a workload, or None."""
        if cls.only and workload.name not in cls.only:
            return "not measured"
        if workload.servers and cls.name not in workload.servers:
            return "not measured"
        if workload.history and not cls.history:
            return "keeps no history"
        if workload.reloads and not cls.reloads:
            return "has no reload"
        return None

    @classmethod
    def version(cls):
        if not cls.package:
            return ""
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${Version}", cls.package],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            check=False)
        return done.stdout

    def start(self):
        if self.redis:
            self.start_redis()
        self.begin()

    def start_redis(self):
        self.redis_port = free_port()
        redis = Process([REDIS, "--port", str(self.redis_port), "--bind",
                         "127.0.0.1", "--save", "", "--appendonly", "no",
                         "--dir", self.dir], self.path("redis.log"))
        self.store.append(redis)
        redis.wait_port(self.redis_port)

    def begin(self):
        raise NotImplementedError

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text, mode=0o600):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def write_target(self, **fields):
        lines = []
        for key, value in fields.items():
            for v in value if isinstance(value, list) else [value]:
                lines.append(f"{key} {v}\n")
        self.write("target", "".join(lines))

    def add_headers(self, headers):
        """Adds headers to the requests of the generator's clients."""
        with open(self.target, "a", encoding="utf-8") as f:
            f.writelines(f"events_header {line}\n"
                         for line in headers.splitlines())

    def pids(self):
        return [p.pid for p in self.processes]

    def store_pids(self):
        return [p.pid for p in self.store]

    def reload(self):
        raise NotImplementedError

    def measure(self, generator, workload, size):
        """Measures without the generator, and returns the figures; None: the
        generator is used."""
        return None

    def crashes(self):
        """How many of its processes have crashed."""
        return 0

    def stop(self):
        for p in self.processes + self.store + self.others:
            p.stop()


class Nginx(Server):
    """An NGINX with one "server" block, whose locations a subclass sets."""

    reloads = True
    modules = []

    @classmethod
    def missing(cls):
        if shutil.which(NGINX) is None:
            return f"no {NGINX}"
        for module in cls.modules:
            if not os.path.exists(module):
                return f"no {module}"
        return super().missing()

    def begin(self):
        self.port = free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        loads = "".join(f"load_module {m};\n" for m in self.modules)
        temp = "".join(f"{name}_temp_path {self.path(name)};\n" for name in (
            "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))

        self.write("nginx.conf", f"""{loads}{user}
daemon off;
worker_processes {WORKERS};
worker_rlimit_nofile {files};
pid {self.path("nginx.pid")};
error_log {self.path("error.log")} warn;
events {{ worker_connections {min(files, 32768)}; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 300s;
    {temp}{self.http()}
    server {{
        listen 127.0.0.1:{self.port} backlog=4096;
        {self.locations()}
    }}
}}
""")
        nginx = Process([NGINX, "-c", self.path("nginx.conf"), "-e",
                         self.path("error.log")], self.path("nginx.out"))
        self.processes.append(nginx)
        nginx.wait_port(self.port)
        self.address = f"127.0.0.1:{self.port}"
        self.describe()

    def http(self):
        return ""

    def locations(self):
        raise NotImplementedError

    def describe(self):
        raise NotImplementedError

    def reload(self):
        os.kill(self.processes[0].pid, signal.SIGHUP)

    def crashes(self):
        return read(self.path("error.log")).count("exited on signal")


class Conduit(Nginx):
    name = "conduit"
    label = "Conduit for NGINX"
    redis = True
    modules = [f"{MODULES}/ngx_conduit_publish_module.so",
               f"{MODULES}/ngx_conduit_gateway_module.so"]
    kind = "x-protobuf"
    body = "{proto}"
    accept = []          # more headers of clients' requests
    # more directives of the location
    gateway = os.environ.get("CONDUIT_GATEWAY", "")
    about = ("messages in Redis streams; verifies a token with each publish"
             " (HS256) and each client (RS256)")

    def locations(self):
        secret = self.write("secret", SECRET)
        _, public = keys(self.dir)
        redis = f"redis://127.0.0.1:{self.redis_port}"

        return f"""
        location /publish/ {{
            conduit_publish {redis};
            conduit_publish_jwt_secret_file {secret};
            conduit_publish_jwt_issuer bench;
            conduit_publish_jwt_audience conduit;
            conduit_publish_rate 1000000r/s;
        }}
        location /events/ {{
            conduit_gateway {redis};
            conduit_gateway_jwt_key_file {public};
            conduit_gateway_jwt_issuer bench;
            conduit_gateway_jwt_audience conduit;
            {self.gateway}
        }}"""

    def describe(self):
        private, _ = keys(self.dir)
        self.write_target(
            publish_address=self.address, events_address=self.address,
            publish="POST /publish/1/{channel}",
            publish_header=[f"Content-Type: application/{self.kind}",
                            f"Authorization: Bearer {publisher_token()}"],
            publish_body=self.body, key=private,
            events="GET /events/1?token={token}&channel_id={channel}",
            events_header=self.accept)


class ConduitJson(Conduit):
    name = "conduit-json"
    label = "Conduit for NGINX, JSON"
    about = "the same, messages posted in JSON; Redis counts their sequence"
    only = ["publish"]
    kind = "json"
    body = ('{"channel_id":"{channel}",'
            '"message_id":"97f58c19-ce38-4c6b-8a5b-47f3405691f0",'
            '"payload":{"value":"{event_string}"}}')


class ConduitCoalesce(Conduit):
    name = "conduit-coalesce"
    label = "Conduit for NGINX, coalescing"
    about = ("the same, with conduit_gateway_coalesce 50ms: events of 50 ms in"
             " one write")
    only = ["fanout"]
    gateway = "conduit_gateway_coalesce 50ms;"


class ConduitGzip(Conduit):
    name = "conduit-gzip"
    label = "Conduit for NGINX, gzip"
    about = "the same, with conduit_gateway_gzip on, clients that accept gzip"
    only = ["fanout", "channels", "idle"]
    gateway = "conduit_gateway_gzip on;"
    accept = ["Accept-Encoding: gzip"]


class ConduitNginxGzip(ConduitGzip):
    name = "conduit-nginx-gzip"
    label = "Conduit for NGINX, NGINX's gzip"
    about = "the same, compressed for each client by NGINX's gzip instead"
    gateway = "gzip on; gzip_types text/event-stream;"


class ConduitExample(Conduit):
    name = "conduit-example"
    label = "Conduit for NGINX, example's buffers"
    about = ("the same, with the sizes of buffers and pools that"
             " nginx.conf.example sets")
    only = ["idle"]

    def http(self):
        example = read(EXAMPLE)
        return "".join(line + "\n" for line in re.findall(
            r"^ *((?:client_header_buffer|connection_pool|request_pool)_size"
            r" .*;)", example, re.M))


class NchanMemory(Nginx):
    name = "nchan-memory"
    label = "nchan, memory"
    modules = [f"{NGINX_MODULES}/ngx_nchan_module.so"]
    about = ("messages in memory that the workers of one NGINX share; no"
             " tokens")
    package = "libnginx-mod-nchan"
    store_in = ""

    def http(self):
        return "nchan_shared_memory_size 1024M;\n"

    def locations(self):
        return f"""
        location ~ ^/pub/(.+)$ {{
            nchan_publisher;
            nchan_channel_id $1;
            nchan_message_buffer_length {KEEP};
            nchan_message_timeout {KEEP_SECONDS}s;
            {self.store_in}
        }}
        location ~ ^/sub/(.+)$ {{
            nchan_subscriber eventsource;
            nchan_channel_id $1;
            nchan_subscriber_first_message oldest;
            nchan_message_buffer_length {KEEP};
            nchan_message_timeout {KEEP_SECONDS}s;
            {self.store_in}
        }}"""

    def describe(self):
        self.write_target(
            publish_address=self.address, events_address=self.address,
            publish="POST /pub/{channel}",
            publish_header="Content-Type: application/json",
            publish_body="{event}", events="GET /sub/{channel}")


class Nchan(NchanMemory):
    name = "nchan"
    label = "nchan, Redis"
    about = "messages in Redis, told to workers by its pub/sub; no tokens"
    redis = True
    store_in = "nchan_redis_pass store;"

    def begin(self):
        super().begin()
        # a worker refuses requests until it is connected to Redis
        wait_answers(self.address, "POST", "/pub/ready")

    def http(self):
        return super().http() + (
            "upstream store { nchan_redis_server"
            f" redis://127.0.0.1:{self.redis_port}; }}\n")


class Return200(Nginx):
    name = "return-200"
    label = "`return 200`"
    only = ["publish", "publish-many", "publish-each"]
    floor = True

    def locations(self):
        return 'location / { return 200 "1736467200000-0"; }'

    def describe(self):
        self.write_target(
            publish_address=self.address, events_address=self.address,
            publish="POST /publish/1/{channel}",
            publish_header=["Content-Type: application/x-protobuf",
                            f"Authorization: Bearer {publisher_token()}"],
            publish_body="{proto}", events="GET /")
