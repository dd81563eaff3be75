# Copyright (C) Conduit for NGINX authors

"""The subcommand doctor: checks everything between a client and Conduit, such
as proxies, from the client's machine.  Each check has a verdict (ok, warn,
fail, skip), a time and a line of text."""

import http.client
import json
import socket
import ssl
import time
import uuid

from . import errors
from .client import Publisher, Stream, connect, message, reason, said, \
    tls_context
from .errors import Failure
from .settings import duration
from .tokens import Source

ORIGIN = "https://conduit-doctor.invalid"


class Doctor:
    def __init__(self, settings, args):
        self.settings = settings
        self.args = args
        self.wait = duration(args.wait, "--wait")
        self.keepalive = duration(args.keepalive, "--keepalive")
        self.results = []
        self.publisher = None
        self.stream = None
        self.events = []        # (ID, time, data) of this channel
        self.comments = []
        self.drained = None

        # uses a new channel; a token from the settings is for another one
        settings.channel = str(uuid.uuid4())
        settings.subscribe_token = None
        self.scheme, self.host, self.port, self.path = settings.base()
        self.subscriber = Source(settings, "subscribe")
        source = Source(settings, "publish")

        if source.can():
            self.publisher = Publisher(settings, source, 5)

    # --- results

    def add(self, name, verdict, text, seconds=None, **more):
        result = {"check": name, "verdict": verdict,
                  "ms": None if seconds is None else round(seconds * 1000, 1),
                  "text": text, **more}
        self.results.append(result)

        if not self.args.json:
            ms = "" if seconds is None else f"{seconds * 1000:.1f} ms"
            print(f"{verdict:<4}  {name:<10} {ms:>10}  {text}", flush=True)

        return verdict != "fail"

    def skip(self, names, why):
        for name in names:
            self.add(name, "skip", why)

    # --- all checks

    def run(self):
        rest = ["cors", "events", "buffering", "latency", "resume",
                "keepalive", "end", "drain"]

        if not self.dns() or not self.tcp() or not self.tls():
            self.skip(rest, "no connection")
            return

        self.cors()

        if not self.subscriber.can():
            self.skip(rest[1:], "no key_file")
            return

        try:
            self.with_events(rest[1:])
        finally:
            if self.stream:
                self.stream.close()
            if self.publisher:
                self.publisher.close()

    def with_events(self, rest):
        """Runs the checks that need a stream; each one goes on with the open
        stream of the one before."""
        checks = [self.opens, self.buffering, self.latency, self.resume,
                  self.idle, self.end]

        for i, check in enumerate(checks):
            if self.publisher is None and check in (
                    self.buffering, self.latency, self.resume, self.end):
                self.skip([rest[i]], "no secret_file, no publisher's token")
                continue

            try:
                good = check()
            except Failure as e:
                good = self.add(rest[i], "fail", e.text)

            if not good:
                self.skip([r for r in rest[i + 1:-1]], f"after {rest[i]}")
                break

        self.drain()

    # --- the connection

    def dns(self):
        start = time.monotonic()

        try:
            found = socket.getaddrinfo(self.host, self.port,
                                       type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as e:
            return self.add("dns", "fail", f"{self.host}: {reason(e)}",
                            time.monotonic() - start)

        addresses = list(dict.fromkeys(a[4][0] for a in found))
        return self.add("dns", "ok", " ".join(addresses),
                        time.monotonic() - start, addresses=addresses)

    def tcp(self):
        start = time.monotonic()

        try:
            socket.create_connection(
                (self.host, self.port),
                self.settings.seconds("timeout")).close()
        except OSError as e:
            return self.add("tcp", "fail",
                            f"{self.host}:{self.port}: {reason(e)}",
                            time.monotonic() - start)

        return self.add("tcp", "ok", f"{self.host}:{self.port}",
                        time.monotonic() - start)

    def tls(self):
        if self.scheme != "https":
            self.add("tls", "warn", "none: tokens go over the network as they "
                     "are" if self.host not in ("localhost", "127.0.0.1",
                                                "::1")
                     else "none, on the loopback address")
            return self.add("http2", "warn", "browsers speak it over TLS "
                            "only; six streams a browser without")

        context = tls_context(self.settings, ("h2", "http/1.1"))
        start = time.monotonic()

        try:
            with socket.create_connection(
                    (self.host, self.port),
                    self.settings.seconds("timeout")) as s, \
                 context.wrap_socket(s, server_hostname=self.host) as t:
                seconds = time.monotonic() - start
                version, alpn = t.version(), t.selected_alpn_protocol()
                ends = ssl.cert_time_to_seconds(t.getpeercert()["notAfter"])
        except OSError as e:
            return self.add("tls", "fail", reason(e),
                            time.monotonic() - start)

        days = int((ends - time.time()) / 86400)
        self.add("tls", "warn" if days < 14 else "ok",
                 f"{version}, the certificate is good for {days} days",
                 seconds)

        if alpn == "h2":
            return self.add("http2", "ok", "h2 by ALPN")

        return self.add("http2", "warn", "not offered by ALPN: a browser has "
                        "six connections a server, hence six streams in all "
                        "its tabs")

    # --- CORS

    def cors(self):
        """Sends the preflight request that a browser sends for a page of
        another origin that has its token in a header."""
        path = f"{self.path}/events/{self.settings.org_id()}" \
               f"?channel_id={self.settings.channel_id()}"
        start = time.monotonic()

        try:
            c = connect(self.settings)
            c.request("OPTIONS", path, headers={
                "Origin": ORIGIN, "Access-Control-Request-Method": "GET",
                "Access-Control-Request-Headers":
                    "authorization,last-event-id"})
            r = c.getresponse()
            r.read()
            c.close()
        except Failure as e:
            return self.add("cors", "fail", e.text)
        except (OSError, http.client.HTTPException) as e:
            return self.add("cors", "fail", f"preflight: {reason(e)}",
                            time.monotonic() - start)

        seconds = time.monotonic() - start

        if cors_listed(r):
            return self.add("cors", "skip", "preflight: listed origins may "
                            "listen (conduit_gateway_cors)", seconds)

        fault = cors_fault(r, True)

        return self.add("cors", "fail" if fault else "ok",
                        f"preflight: {fault or 'any origin may listen'}",
                        seconds)

    # --- a stream

    def opens(self):
        self.stream = Stream(self.settings, self.subscriber,
                             headers={"Origin": ORIGIN},
                             silence=self.wait + self.keepalive + 60)
        first = self.take(lambda: self.opened, self.wait)

        if not first:
            # the next check, buffering, finds out whether a proxy holds back
            # the whole response
            return self.add("events", "warn", "no header of a response in "
                            f"{self.wait:g} s")

        response, body = self.opened

        if response.status != 200:
            return self.add("events", "fail", said(response, body),
                            self.header_time)

        kind = response.headers.get_content_type()
        coding = response.headers.get("Content-Encoding")
        fault = None if cors_listed(response) else cors_fault(response, False)

        if kind != "text/event-stream":
            return self.add("events", "fail", f"{kind}, no text/event-stream;"
                            " is the URL right?", self.header_time)
        if fault:
            self.add("events", "fail", f"CORS: {fault}", self.header_time)
        elif coding:
            self.add("events", "warn", f"compressed ({coding}), which may "
                     "hold events back", self.header_time)
        elif not self.take(lambda: self.first_byte, self.wait):
            self.add("events", "warn", "the header of the response is there, "
                     f"its first line not in {self.wait:g} s",
                     self.header_time)
        else:
            self.add("events", "ok", "200 text/event-stream, first byte after "
                     f"{self.first_byte * 1000:.1f} ms", self.header_time,
                     first_byte_ms=round(self.first_byte * 1000, 1))

        return True

    opened = first_byte = header_time = None
    ended = False
    cut = None

    def take(self, condition, seconds):
        """Reads the stream until a condition holds; returns False if the time
        is over before."""
        deadline = time.monotonic() + seconds

        while not condition():
            item = self.stream.next(max(deadline - time.monotonic(), 0))

            if item is None:
                return False

            kind, value, at = item

            if kind == "open":
                self.opened = value
                self.header_time = at - self.stream.started
            elif kind == "bytes" and self.first_byte is None:
                self.first_byte = at - self.stream.started
            elif kind == "comment":
                self.comments.append(at)
            elif kind == "event":
                self.event(value, at)
            elif kind == "end":
                self.ended, self.cut = True, value
                return condition()

        return True

    def event(self, event, at):
        if event["event"] == "stream":
            self.events.append((event["id"], at, event["data"]))
        elif "server_draining" in event["data"]:
            self.drained = "server_draining was sent while this ran"

    def publish(self, phase="DELTA", n=0):
        """Publishes a message; returns its ID, and the time before that."""
        start = time.monotonic()
        [stored] = self.publisher.post([message({"doctor": n}, phase)])
        return stored["id"], start

    def ids(self):
        return [e[0] for e in self.events]

    def buffering(self):
        """Checks whether an event comes at once.  If it only comes when the
        response ends, a proxy is buffering."""
        first, start = self.publish("START")

        if self.take(lambda: first in self.ids(), self.wait):
            at = self.events[-1][1]
            return self.add("buffering", "ok", "none: an event comes while "
                            "the response goes on", at - start)

        self.publish("END")

        if self.take(lambda: first in self.ids(), self.wait):
            return self.add(
                "buffering", "fail", "a proxy is buffering: events come when "
                "the response ends, not before; turn it off (NGINX: "
                "proxy_buffering off, without proxy_ignore_headers "
                "X-Accel-Buffering)", time.monotonic() - start)

        return self.add("buffering", "fail", "an event that was published "
                        f"does not come in {2 * self.wait:g} s, not even at "
                        "the end: a proxy is buffering, or publishing and "
                        "events do not have the same Redis",
                        time.monotonic() - start)

    def latency(self):
        times, posts = [], []

        for n in range(self.args.samples):
            stored, start = self.publish(n=n)
            posts.append(time.monotonic() - start)

            if not self.take(lambda wanted=stored: wanted in self.ids(),
                             self.wait):
                return self.add("latency", "fail", f"event {n + 1} does not "
                                f"come in {self.wait:g} s"
                                + (f": {self.cut}" if self.cut else ""))

            at = next(e[1] for e in self.events if e[0] == stored)
            times.append(max(at - start, 0))
            # stays below the default of conduit_publish_rate
            time.sleep(max(0.06 - (time.monotonic() - start), 0))

        p50, p99 = quantile(times, 50), quantile(times, 99)

        return self.add(
            "latency", "ok" if p50 < 1 else "warn",
            f"publish to event: p50 {p50 * 1000:.1f} ms, p99 "
            f"{p99 * 1000:.1f} ms, of {len(times)}; a publish takes "
            f"{quantile(posts, 50) * 1000:.1f} ms", p50,
            p50_ms=round(p50 * 1000, 1), p99_ms=round(p99 * 1000, 1),
            publish_p50_ms=round(quantile(posts, 50) * 1000, 1))

    def resume(self):
        """Closes the stream, publishes, reconnects with Last-Event-ID, and
        checks that each event comes once."""
        last = self.events[-1][0]
        before = len(self.events)
        self.stream.close()
        wanted = [self.publish(n=n)[0] for n in range(5)]
        start = time.monotonic()
        self.reopen(last)

        self.take(lambda: self.ids()[-1:] == wanted[-1:], self.wait)
        got = self.ids()[before:]
        seconds = time.monotonic() - start

        if got == wanted:
            return self.add("resume", "ok", "after Last-Event-ID, without gap "
                            "or repeat: 5 of 5", seconds)

        status = self.opened and self.opened[0].status
        missing = len(set(wanted) - set(got))
        return self.add("resume", "fail", f"{missing} of 5 events missing, "
                        f"{len(got) - len(set(got) & set(wanted))} that were "
                        f"sent before, status {status}; does a proxy remove "
                        "Last-Event-ID?", seconds)

    def reopen(self, last):
        self.opened = None
        self.ended, self.cut = False, None
        self.stream = Stream(self.settings, self.subscriber, last,
                             silence=self.wait + self.keepalive + 60)

    def idle(self):
        if self.keepalive == 0:
            return self.add("keepalive", "skip", "--keepalive 0")

        n = len(self.comments)
        start = time.monotonic()

        if self.take(lambda: len(self.comments) > n, self.keepalive):
            seconds = self.comments[-1] - start
            return self.add("keepalive", "ok", "a comment after "
                            f"{seconds:.1f} s without events", seconds)

        if self.ended:
            return self.add("keepalive", "fail", "an idle response is ended "
                            + (f"({self.cut}) " if self.cut else "") + "after "
                            f"{time.monotonic() - start:.1f} s: is the "
                            "timeout of a proxy shorter than "
                            "conduit_gateway_keepalive?",
                            time.monotonic() - start)

        return self.add("keepalive", "fail", "no comment in "
                        f"{self.keepalive:g} s without events: "
                        "conduit_gateway_keepalive is longer, or a proxy "
                        "holds it back", self.keepalive)

    def end(self):
        end, start = self.publish("END")

        self.take(lambda: self.ended, self.wait)
        came = end in self.ids()
        seconds = time.monotonic() - start

        if came and self.ended and self.cut is None:
            return self.add("end", "ok", "the response ends after END",
                            seconds)

        return self.add("end", "warn" if came else "fail",
                        "END does not come" if not came else
                        f"the response is cut after END: {self.cut}"
                        if self.cut else "the response goes on after END",
                        seconds)

    def drain(self):
        """Reports a drain that was seen by chance: a client can't cause
        one."""
        if self.drained:
            self.add("drain", "ok", self.drained)
        else:
            self.add("drain", "skip", "no worker has quit meanwhile (nginx -s "
                     "reload while this runs shows it)")


def cors_listed(response):
    """Whether the server has a list of origins that ORIGIN is not in."""
    vary = ",".join(response.headers.get_all("Vary", [])).lower()

    return "Access-Control-Allow-Origin" not in response.headers \
        and "origin" in [name.strip() for name in vary.split(",")]


def cors_fault(response, preflight):
    """Why a browser would refuse the response, or None."""
    origins = response.headers.get_all("Access-Control-Allow-Origin", [])

    if len(origins) > 1:
        return "Access-Control-Allow-Origin comes twice, browsers refuse that"
    if origins not in (["*"], [ORIGIN]):
        return f"status {response.status}, no Access-Control-Allow-Origin " \
               "for other origins"
    if not preflight:
        return None
    if not 200 <= response.status < 300:
        return f"status {response.status}"

    allowed = {h.strip().lower() for h in response.headers.get(
        "Access-Control-Allow-Headers", "").split(",")}

    if "authorization" not in allowed:
        return "the header Authorization is not allowed"
    if not allowed & {"*", "last-event-id"}:
        return "the header Last-Event-ID is not allowed"

    return None


def quantile(values, percent):
    """A percentile, by the nearest-rank method."""
    ordered = sorted(values)
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]


def doctor(settings, args):
    d = Doctor(settings, args)
    d.run()
    failed = sum(r["verdict"] == "fail" for r in d.results)

    if args.json:
        print(json.dumps({"url": settings.url, "ok": not failed,
                          "checks": d.results}))
    else:
        print(f"{failed} faults" if failed != 1 else "1 fault")

    return errors.NEGATIVE if failed else errors.OK
