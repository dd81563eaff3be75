# Copyright (C) Conduit for NGINX authors

"""HTTP requests to the routes publish and events."""

import http.client
import json
import queue
import socket
import ssl
import threading
import time
import uuid

from . import errors
from .errors import USAGE, Failure


def tls_context(settings, alpn=("http/1.1",)):
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as e:
        raise Failure(USAGE, f"{settings.ca_file}: {e}") from None

    context.set_alpn_protocols(list(alpn))
    return context


def connect(settings, timeout=None):
    """Returns an open connection, or raises a Failure that says why not."""
    scheme, host, port, _ = settings.base()
    timeout = timeout or settings.seconds("timeout")

    if scheme == "https":
        c = http.client.HTTPSConnection(host, port, timeout=timeout,
                                        context=tls_context(settings))
    else:
        c = http.client.HTTPConnection(host, port, timeout=timeout)

    try:
        c.connect()
    except (OSError, UnicodeError) as e:
        raise Failure(errors.UNREACHABLE,
                      f"cannot connect to {host}:{port}: {reason(e)}") from None
    return c


def reason(e):
    if isinstance(e, ssl.SSLCertVerificationError):
        return f"certificate: {e.verify_message}"
    if isinstance(e, TimeoutError):
        return "no answer in time"
    if isinstance(e, http.client.IncompleteRead):
        return "connection cut"
    if isinstance(e, http.client.RemoteDisconnected):
        return "connection closed without an answer"

    return getattr(e, "strerror", None) or str(e) or type(e).__name__


# --- publishing

def message(payload, phase="DELTA", **fields):
    """Makes a PublishRequest, with an ID that stays the same when it is sent
    again."""
    return {"message_id": str(uuid.uuid4()), "phase": phase,
            "payload": payload, **fields}


def encode(value):
    return json.dumps(value, ensure_ascii=False, allow_nan=False,
                      separators=(",", ":")).encode("utf-8")


class Publisher:
    """Publishes over one connection, which is kept alive.  After a temporary
    failure it tries again, with the same Idempotency-Key, for up to retry_for
    seconds; on_retry is called once with the reason, unless the first retry is
    soon and succeeds."""

    def __init__(self, settings, token, retry_for, on_retry=lambda text: None):
        self.settings = settings
        self.token = token
        self.retry_for = retry_for
        self.on_retry = on_retry
        self.reached = False
        self.path = f"{settings.base()[3]}/publish/{settings.org_id()}/" \
                    f"{settings.channel_id()}"
        self.connection = None
        self.retries = 0

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def post(self, messages, batch=False):
        """Publishes one message or a batch; returns the server's result for
        each: id, sequence, message_id."""
        body = b"\n".join(encode(m) for m in messages)
        kind = "application/x-ndjson" if batch else "application/json"
        key = str(uuid.uuid4())
        deadline = time.monotonic() + self.retry_for
        unknown = told = False
        faults = 0

        while True:
            fault = self._try(body, kind, key)

            if not isinstance(fault, Failure):
                return fault if batch else [fault]

            unknown = unknown or fault.code == errors.UNKNOWN
            wait = getattr(fault, "wait", None)

            if wait is None or time.monotonic() + wait > deadline:
                if unknown and fault.code in (errors.LATER,
                                              errors.UNREACHABLE):
                    fault.code = errors.UNKNOWN
                    fault.text += "; the message may have been stored before"
                raise fault

            faults += 1
            if not told and (faults > 1 or wait > 1):
                self.on_retry(f"{fault.text}; trying again for up to "
                              f"{self.retry_for:g} s")
                told = True

            self.retries += 1
            time.sleep(wait)

    def _try(self, body, kind, key):
        """Returns the answer, or a Failure; one that may be temporary has a
        "wait", in seconds."""
        sent = False

        try:
            headers = {"Content-Type": kind, "Accept": "application/json",
                       "Authorization": f"Bearer {self.token.get()}",
                       "Idempotency-Key": key, "User-Agent": "conduit"}

            if self.connection is None:
                self.connection = connect(self.settings)
                self.reached = True

            sent = True
            self.connection.request("POST", self.path, body, headers)
            response = self.connection.getresponse()
            data = response.read()
        except Failure as e:
            # if no connection was ever made, the URL may be wrong: no retry
            if e.code == errors.UNREACHABLE and self.reached:
                e.wait = 0.5
            return e
        except (OSError, http.client.HTTPException) as e:
            self.close()
            text = f"publish: {reason(e)}"
            fault = Failure(errors.UNKNOWN if sent else errors.UNREACHABLE,
                            f"{text}; the message may have been stored")
            fault.wait = 0.5
            return fault

        if response.will_close:
            self.close()

        return answer(response, data)


def answer(response, data):
    if response.status == 200:
        try:
            found = json.loads(data)
        except ValueError:
            found = None

        if isinstance(found, (dict, list)):
            return found

        return Failure(errors.REFUSED, "publish: 200, but the reply is not "
                       "Conduit's; is the URL right?")

    fault = Failure(code_of(response), "publish: " + said(response, data))

    if response.status in (429, 503, 504):
        try:
            wait = float(response.headers.get("Retry-After", "0.5"))
        except ValueError:
            wait = 0.5
        fault.wait = min(max(wait, 0.1), 3600)

    return fault


def code_of(response):
    status = response.status
    stored = response.headers.get("Conduit-Stored")

    if stored == "unknown" or status == 504 or status == 502:
        return errors.UNKNOWN
    if status in (401, 403):
        return errors.TOKEN
    if status in (429, 503):
        return errors.LATER

    return errors.REFUSED


def said(response, data):
    """Describes an error response in one line: its status, the text of its
    body, and what is wrong with the token."""
    text = data[:2000].decode("utf-8", "replace")

    try:
        text = json.loads(text).get("detail", "")
    except (ValueError, AttributeError):
        if "<html" in text.lower():
            text = "a page, not Conduit's reply; is the URL right?"

    challenge = response.headers.get("WWW-Authenticate", "")
    _, found, why = challenge.partition('error_description="')

    if found:
        text += f": {why.rstrip(chr(34))}"

    return f"{response.status} {text}"


# --- events

class Parser:
    """Parses Server-Sent Events.  feed() takes bytes and returns a list of
    ("event", {"event", "id", "data"}), ("comment", text), ("retry", ms)."""

    def __init__(self):
        self.buffer = b""
        self.cr = False
        self.fields = {}

    def feed(self, data):
        found = []

        # a line may end with a line feed, a carriage return, or both

        if self.cr and data[:1] == b"\n":
            data = data[1:]
        self.cr = data.endswith(b"\r")

        lines = (self.buffer + data).replace(b"\r\n", b"\n") \
            .replace(b"\r", b"\n").split(b"\n")
        self.buffer = lines.pop()

        for line in lines:
            item = self.line(line.decode("utf-8", "replace"))
            if item:
                found.append(item)

        return found

    def line(self, line):
        if not line:
            fields, self.fields = self.fields, {}
            data = fields.pop("data", None)
            return data and ("event", {
                "event": fields.get("event", "message"),
                "id": fields.get("id"), "data": "\n".join(data)})

        if line.startswith(":"):
            return "comment", line[1:]

        name, _, value = line.partition(":")
        value = value.removeprefix(" ")

        if name == "data":
            self.fields.setdefault("data", []).append(value)
        elif name == "retry" and value.isascii() and value.isdigit():
            return "retry", int(value)
        else:
            self.fields[name] = value

        return None


class Stream:
    """A response of the events route, read by its own thread.  next() returns
    (kind, value, time), with the kinds and values of Parser.feed(), and also
    ("open", (response, body)), ("bytes", n), ("end", None or why it was
    cut)."""

    def __init__(self, settings, token, last_id=None, silence=45, headers=None):
        self.queue = queue.Queue()
        self.started = time.monotonic()
        self.connection = connect(settings)
        self.connected = time.monotonic()
        self.socket = self.connection.sock
        self.silence = silence
        self.stopped = False

        scheme, host, port, path = settings.base()
        self.path = f"{path}/events/{settings.org_id()}" \
                    f"?channel_id={settings.channel_id()}"
        self.headers = {"Authorization": f"Bearer {token.get()}",
                        "Accept": "text/event-stream",
                        "User-Agent": "conduit", **(headers or {})}
        if last_id is not None:
            self.headers["Last-Event-ID"] = last_id

        threading.Thread(target=self._run, daemon=True).start()

    def put(self, kind, value):
        self.queue.put((kind, value, time.monotonic()))

    def next(self, timeout=None):
        """The next item, or None after "timeout" seconds."""
        try:
            return self.queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self):
        """Closes the connection, even while the thread reads."""
        self.stopped = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.connection.close()

    def _run(self):
        try:
            self.socket.settimeout(self.silence)
            self.connection.request("GET", self.path, headers=self.headers)
            response = self.connection.getresponse()

            if response.status != 200:
                self.put("open", (response, response.read()))
                self.put("end", None)
                return

            self.put("open", (response, b""))
            self._read(response)
            self.put("end", None)
        except Failure as e:
            self.put("end", e.text)
        except (OSError, http.client.HTTPException, ValueError,
                AttributeError) as e:
            # http.client raises the last two if close() is called meanwhile
            self.put("end", "connection closed" if self.stopped else reason(e))

    def _read(self, response):
        parser = Parser()

        while True:
            data = response.read1(65536)
            if not data:
                break
            self.put("bytes", len(data))
            for kind, value in parser.feed(data):
                self.put(kind, value)
