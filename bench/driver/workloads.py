# Copyright (C) Conduit for NGINX authors

"""The workloads, each in three sizes."""

from dataclasses import dataclass, field


@dataclass
class Workload:
    """A workload of the generator with its options (load/workloads.h), and
    what a server needs for it.  "sizes" has the options that differ by
    size."""

    name: str
    does: str
    run: str
    options: dict
    sizes: dict = field(default_factory=dict)
    history: bool = False
    reloads: bool = False
    rounds: int = 100        # at most, except with size "full"
    headers: str = ""        # added to each client's request
    servers: tuple = ()      # names of servers; empty: all

    def arguments(self, size):
        options = dict(self.options)
        options.update(self.sizes[size])
        return [f"{name}={value}" for name, value in options.items()]

    def value(self, size, name):
        return {**self.options, **self.sizes[size]}[name]

    def describe(self, size):
        return self.does.format(**{**self.options, **self.sizes[size]})


# headers that Chromium sends for an EventSource of another origin, without the
# two that the generator sends anyway
BROWSER = """\
Connection: keep-alive
sec-ch-ua-platform: "Linux"
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like \
Gecko) Chrome/131.0.0.0 Safari/537.36
sec-ch-ua: "Chromium";v="131", "Not_A Brand";v="24"
sec-ch-ua-mobile: ?0
Origin: https://app.example.com
Sec-Fetch-Site: same-site
Sec-Fetch-Mode: cors
Sec-Fetch-Dest: empty
Referer: https://app.example.com/
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-US,en;q=0.9
Cache-Control: no-cache
"""

WORKLOADS = [
    Workload(
        "publish", "{connections} connections publish to {channels} channels in"
        " turn, each as fast as it gets replies", "publish",
        {"connections": 8, "channels": 256},
        {"check": {"ms": 200}, "short": {"ms": 1000}, "full": {"ms": 6000}}),
    Workload(
        "publish-many", "as publish, with {connections} connections", "publish",
        {"connections": 128, "channels": 256},
        {"check": {"ms": 200}, "short": {"ms": 600}, "full": {"ms": 6000}}),
    Workload(
        "publish-each", "as publish, each message with a connection of its own,"
        " as Sentry's publisher does", "publish",
        {"connections": 8, "channels": 256, "each": 1},
        {"check": {"ms": 200}, "short": {"ms": 600}, "full": {"ms": 6000}}),
    Workload(
        "fanout", "{clients} clients on one channel, {rate} messages a second",
        "deliver", {"channels": 1, "connections": 1},
        {"check": {"clients": 50, "rate": 50, "ms": 400},
         "short": {"clients": 1000, "rate": 50, "ms": 1000},
         "full": {"clients": 1000, "rate": 50, "ms": 10000}}),
    Workload(
        "channels", "{clients} clients on as many channels, {rate} messages a"
        " second in all", "deliver", {"connections": 8},
        {"check": {"clients": 50, "channels": 50, "rate": 200, "ms": 400},
         "short": {"clients": 1000, "channels": 1000, "rate": 500, "ms": 1000},
         "full": {"clients": 1000, "channels": 1000, "rate": 500,
                  "ms": 20000}}),
    Workload(
        "latency", "{clients} clients on {channels} channels, {rate} messages a"
        " second in all", "deliver", {"channels": 10, "connections": 8},
        {"check": {"clients": 20, "rate": 100, "ms": 300},
         "short": {"clients": 200, "rate": 100, "ms": 1000},
         "full": {"clients": 200, "rate": 100, "ms": 20000}}),
    Workload(
        "idle", "{clients} clients, a channel each, that get nothing; requests"
        " are those of a browser", "idle",
        {},
        {"check": {"clients": 100, "channels": 100, "ms": 100},
         "short": {"clients": 2000, "channels": 2000, "ms": 500},
         "full": {"clients": 10000, "channels": 10000, "ms": 20000}},
        headers=BROWSER),
    Workload(
        "storm", "{clients} clients come at one time, each for the {messages}"
        " messages that one channel keeps", "storm",
        {"channels": 1, "connections": 1},
        {"check": {"clients": 50, "messages": 100},
         "short": {"clients": 400, "messages": 400},
         "full": {"clients": 2000, "messages": 1150}}, history=True),
    Workload(
        "tokens", "{clients} streams from START to END, {messages} messages"
        " each, {rate} a second; every other stream's client comes midway",
        "tokens", {"rate": 20, "connections": 32},
        {"check": {"clients": 20, "messages": 10},
         "short": {"clients": 100, "messages": 40},
         "full": {"clients": 500, "messages": 200}}, history=True),
    Workload(
        "slow", "{clients} clients on one channel, {rate} messages of {size}"
        " bytes a second; {slow} of them read nothing until the end",
        "deliver", {"channels": 1, "connections": 1, "size": 8000},
        {"check": {"clients": 10, "slow": 2, "rate": 100, "ms": 400},
         "short": {"clients": 100, "slow": 10, "rate": 200, "ms": 1500},
         "full": {"clients": 200, "slow": 20, "rate": 200, "ms": 5000}}),
    Workload(
        "reload", "{clients} clients on {channels} channels, {rate} messages a"
        " second in all; the server is told to read its configuration anew",
        "deliver", {"channels": 10, "connections": 8},
        {"check": {"clients": 20, "rate": 50, "ms": 600, "reload": 300},
         "short": {"clients": 500, "rate": 50, "ms": 7500, "reload": 1000},
         "full": {"clients": 1000, "rate": 50, "ms": 20000,
                  "reload": 5000}},
        history=True, reloads=True, rounds=1),
]
