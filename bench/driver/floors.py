# Copyright (C) Conduit for NGINX authors

"""Floors: the least that a part of the work costs, measured alone."""

import os
import re
import socket
import subprocess

from .processes import Failed, Process, cpu_us, free_port
from .servers import Conduit, Server, WORKERS

BENCHMARK = "redis-benchmark"


class Writer(Server):
    name = "writer"
    label = "bare event loop, one thread"
    only = ["fanout", "channels", "latency"]
    floor = True
    history = False
    program = os.path.abspath("build/bench/writer")
    arguments = []

    @classmethod
    def missing(cls):
        return None if os.access(cls.program, os.X_OK) \
            else f"no {cls.program}"

    def begin(self):
        port = free_port()
        writer = Process([self.program, str(port), *self.arguments],
                         self.path("error.log"))
        self.processes.append(writer)
        writer.wait_port(port)
        self.write_target(
            publish_address=f"127.0.0.1:{port}",
            events_address=f"127.0.0.1:{port}",
            publish="POST /{channel}", publish_body="{event}",
            events="GET /{channel}")


class WriterTogether(Writer):
    name = "writer-50ms"
    label = "the same, the events of 50 ms in one write"
    only = ["fanout"]
    arguments = ["50"]


class Doorbell(Server):
    """The generator sends commands to Redis, without a server and clients."""

    name = "doorbell"
    label = "bare XADD, invalidation, XREAD"
    only = ["channels"]
    floor = True
    redis = True
    run = "doorbell"

    def begin(self):
        self.write_target(publish_address=f"127.0.0.1:{self.redis_port}")


class Script(Conduit):
    """Has redis-benchmark run the script that Conduit runs, with the same
    arguments: on one connection for each worker, and with as many commands
    under way as the workload has."""

    name = "script"
    label = "the same script by redis-benchmark"
    about = ""
    only = ["publish"]
    floor = True

    @classmethod
    def missing(cls):
        try:
            subprocess.run([BENCHMARK, "--version"], check=False,
                           stdout=subprocess.DEVNULL)
        except OSError:
            return f"no {BENCHMARK}"
        return super().missing()

    def command(self, generator):
        """Publishes a message through Conduit, and returns the arguments of
        the EVALSHA that MONITOR shows."""
        with socket.create_connection(("127.0.0.1", self.redis_port)) as s:
            s.settimeout(10)
            s.sendall(b"MONITOR\r\n")
            seen = s.recv(4096)
            done = subprocess.run(
                [generator, "publish", self.target, "ms=1", "connections=1"],
                input="\n" * 4, stdout=subprocess.DEVNULL, text=True,
                check=False)
            while not re.search(rb'"EVALSHA".*\r\n', seen):
                more = s.recv(65536)
                if not more or done.returncode:
                    raise Failed("no script was seen")
                seen += more

        line = re.search(rb'("EVALSHA" .*)\r\n', seen)[1]
        return [unquote(word) for word in
                re.findall(rb'"((?:[^"\\]|\\.)*)"', line)]

    def measure(self, generator, workload, size):
        """Measures with redis-benchmark instead of the generator.  It replaces
        __rand_int__ by 12 digits, which are the end of a channel's name."""
        words = [re.sub(rb"\d{12}(?=}?$)", b"__rand_int__", word)
                 if b"stream:" in word else word
                 for word in self.command(generator)]
        channels = workload.value(size, "channels")
        per_worker = workload.value(size, "connections") // WORKERS
        count = workload.value(size, "ms") * 20
        before = cpu_us(self.store_pids())
        done = subprocess.run(
            [BENCHMARK, "-p", str(self.redis_port), "-c", str(WORKERS), "-P",
             str(max(per_worker, 1)), "-n", str(count), "-r", str(channels),
             "--csv", *words], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, timeout=120, check=False)
        used = cpu_us(self.store_pids()) - before
        # columns: rps, avg, min, p50, p95, p99, max
        row = re.findall(rb'"([\d.]+)"', done.stdout)[-7:]

        if done.returncode or len(row) < 7:
            raise Failed(f"{BENCHMARK}: {done.stdout[-200:]!r}")

        return {"rate": float(row[0]), "cpu": 0.0, "store_cpu": used / count,
                "p50": float(row[3]), "p99": float(row[5]), "failed": 0}


class Xadd(Script):
    name = "xadd"
    label = "XADD by redis-benchmark"

    def command(self, generator):
        words = super().command(generator)
        return [b"XADD", words[3], b"MAXLEN", b"~", b"1200", b"*", b"data",
                words[5]]


def unquote(text):
    """Decodes a string as MONITOR prints it."""
    return re.sub(
        rb"\\(x[0-9a-f]{2}|.)",
        lambda m: bytes([int(m[1][1:], 16)]) if len(m[1]) == 3 else
        {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a",
         b"b": b"\b"}.get(m[1], m[1]), text)
