# Copyright (C) Conduit for NGINX authors

"""The workloads "growth": what an event costs with few channels and with many,
with one client on each channel and the same rate of messages in all."""

import resource
from statistics import median

from .workloads import Workload

RATE = 500

# numbers of channels with --size full, and with --size short
CHANNELS = 100, 1000, 5000, 20000
SHORT = 100, 2000

# open files that the generator needs besides the connections of clients
RESERVE = 200


def step(channels, sizes):
    # the generator has a connection for each channel's client
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    n = channels if files < 0 else min(channels, files - RESERVE)
    return Workload(
        f"growth-{channels}", "{channels} channels with a client each, {rate}"
        " messages a second in all", "deliver",
        {"connections": 8, "clients": n, "channels": n, "rate": RATE,
         "patience": 30000},
        {size: of for size, of in sizes.items() if of},
        servers=("conduit",), rounds=2)


GROWTH = [
    step(n, {"check": {"clients": 20, "channels": 20, "ms": 300, "still": 100}
             if n == CHANNELS[0] else None,
             "short": {"ms": 2000, "still": 2000} if n in SHORT else None,
             "full": {"ms": 40000, "still": 40000} if n in CHANNELS else None})
    for n in sorted({*CHANNELS, *SHORT})]

HEAD = """\
## growth

One client on each channel; {rate} messages a second in all, the same for each
row: what the number of channels costs. CPU time is that of an event, at first
with what channels cost without messages (comments of the keepalive, reads of
the sweep), then without it. Ratios are to the first row, of server and Redis
together; each is the median of the ratios of each round.

| channels | server, CPU µs | Redis, CPU µs | ratio | without idle cost: \
server | Redis | ratio | without messages: server, CPU % | Redis, CPU % | KiB \
a channel | Redis, KiB a channel | events | lost, twice, out of order |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def both(f, name):
    return f[name] + f["store_" + name]


def ratio(got, first, name):
    rounds = {f["round"]: both(f, name) for f in first}
    found = [both(f, name) / rounds[f["round"]] for f in got
             if f["round"] in rounds]
    return f"{median(found):.2f}" if found else ""


def growth_section(workloads, runs, size):
    """The table of all numbers of channels; empty if none was measured."""
    steps = [(w, runs[w.name, "conduit"]) for w in workloads
             if w in GROWTH and (w.name, "conduit") in runs]
    if not steps:
        return ""

    text = HEAD.replace("\\\n", "").format(rate=RATE)

    for w, got in steps:
        def mid(name, digits=1):
            return f"{median(f[name] for f in got):.{digits}f}"

        first = steps[0][1]
        bad = sum(f["lost"] + f["twice"] + f["disordered"] for f in got)
        text += "| " + " | ".join([
            f"{w.value(size, 'channels'):,}",
            mid("cpu"), mid("store_cpu"), ratio(got, first, "cpu"),
            mid("net"), mid("store_net"), ratio(got, first, "net"),
            mid("busy", 2), mid("store_busy", 2), mid("kib"), mid("store_kib"),
            f"{sum(f['events'] for f in got):,}", str(bad)]) + " |\n"

    return text
