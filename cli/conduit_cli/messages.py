# Copyright (C) Conduit for NGINX authors

"""The subcommands publish, listen and pipe."""

import base64
import codecs
import json
import os
import selectors
import signal
import subprocess
import sys
import time

from . import errors
from .client import Publisher, Stream, encode, message, said
from .errors import REFUSED, TOKEN, UNREACHABLE, USAGE, Failure
from .settings import duration
from .tokens import Source

# bytes of a batch: about what one message may have by default (16k)
BODY = 16000

# bytes in a DELTA of pipe: JSON may need six characters for one byte
PIECE = 2500


def out(text):
    print(text, flush=True)


def note(text):
    print(f"conduit: {text}", file=sys.stderr, flush=True)


def no_constant(name):
    raise ValueError(f"{name} is not a JSON number")


def publisher(settings, retry_for):
    if settings.channel == "new":
        note(f"channel {settings.channel_id()}")

    return Publisher(settings, Source(settings, "publish"),
                     duration(retry_for, "--retry-for"), note)


# --- publish

def publish(settings, args):
    p = publisher(settings, args.retry_for)

    try:
        if not args.payload:
            _publish_lines(p, args)
        elif args.batch:
            _publish_batch(p, args, (_message(x, args) for x in args.payload))
        else:
            for text in args.payload:
                _stored(p.post([_message(text, args)]), args)
    finally:
        p.close()

    return errors.OK


def _message(text, args, where="the payload"):
    """Makes a message of an argument or a line: a JSON object is the payload
    itself, anything else becomes a text in a payload."""
    payload = {args.field: text}

    if args.message or (text.lstrip().startswith("{") and not args.text):
        try:
            payload = json.loads(text, parse_constant=no_constant)
        except json.JSONDecodeError as e:
            raise Failure(USAGE, f"{where} is not JSON: {e.msg}, line "
                          f"{e.lineno}, column {e.colno}; --text sends it as "
                          "text") from None
        except (ValueError, RecursionError) as e:
            raise Failure(USAGE, f"{where} is not JSON: {e}") from None
        if not isinstance(payload, dict):
            raise Failure(USAGE, f"{where} is not a JSON object")

    try:
        made = message(payload, args.phase)
        if args.message:
            made = {"message_id": made["message_id"], "phase": args.phase,
                    **payload}
            if "messageId" in payload:
                del made["message_id"]
        if args.sequence is not None:
            made["sequence"] = args.sequence
        encode(made)
    except UnicodeEncodeError:
        raise Failure(USAGE, f"{where} is not UTF-8") from None
    except ValueError as e:
        raise Failure(USAGE, f"{where}: {e}") from None

    return made


def _lines():
    for n, line in enumerate(sys.stdin.buffer, 1):
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        try:
            yield n, line.decode()
        except UnicodeDecodeError:
            raise Failure(USAGE, f"line {n} is not UTF-8") from None


def _publish_lines(p, args):
    messages = (_message(line, args, f"line {n}") for n, line in _lines()
                if line)

    if args.batch:
        _publish_batch(p, args, messages)
        return

    for m in messages:
        _stored(p.post([m]), args)


def _publish_batch(p, args, messages):
    batch, size = [], 0

    for m in messages:
        n = len(encode(m)) + 1
        if batch and (len(batch) == args.batch_size or size + n > BODY):
            _stored(p.post(batch, True), args)
            batch, size = [], 0
        batch.append(m)
        size += n

    if batch:
        _stored(p.post(batch, True), args)


def _stored(results, args):
    for r in results:
        out(json.dumps(r) if args.json else r["id"])


# --- listen

class Listener:
    """Receives the events of a channel, and reconnects when needed.  on_event
    is called with each event; it returns True to stop."""

    def __init__(self, settings, args, on_event):
        self.settings = settings
        self.token = Source(settings, "subscribe")
        self.give_up = duration(args.give_up, "--give-up")
        self.silence = duration(args.silence, "--silence")
        self.on_event = on_event
        self.last_id = args.last_id
        self.retry = 0.5
        self.error = None       # data of the last response's "event: error"
        self.connections = 0
        self.events = 0
        self.since = args.since is not None

        if self.since:
            if args.last_id is not None:
                raise Failure(USAGE, "--since and --last-id exclude each other")
            ago = duration(args.since, "--since")
            self.last_id = f"{max(int((time.time() - ago) * 1000), 0)}-0"

    def run(self):
        deadline = time.monotonic() + self.give_up
        before = None

        while True:
            try:
                stream = Stream(self.settings, self.token, self.last_id,
                                self.silence)
                try:
                    seen, why, done = self._read(stream)
                finally:
                    stream.close()
            except Failure as e:
                # if no connection was ever made, the URL may be wrong: no
                # retry
                if e.code not in (UNREACHABLE, errors.LATER) \
                   or not self.connections or time.monotonic() > deadline:
                    raise
                seen, why, done = False, e.text, False

            if done:
                return

            if seen:
                deadline = time.monotonic() + self.give_up
            elif time.monotonic() > deadline:
                raise Failure(errors.LATER if self.error else UNREACHABLE,
                              "listen: " + (why or self.error
                                            or "the server ends each response"))

            # printed once if it fails repeatedly for the same reason
            if why and (seen or why != before):
                note(f"{why}, going on after {self.last_id or 'nothing'}")

            before = why
            time.sleep(self.retry)

    def _read(self, stream):
        """Reads a response until its end.  Returns whether it had an event or
        comment and no error event, why it was cut, and whether to stop."""
        seen = False
        self.error = None

        while True:
            kind, value, _ = stream.next()

            if kind == "open":
                if not self._opened(*value):
                    return seen, None, True
                self.connections += 1
            elif kind == "retry":
                self.retry = value / 1000
            elif kind in ("event", "comment"):
                seen = True
                if kind == "event" and value["event"] == "error":
                    self.error = value["data"]
                if kind == "event" and self._event(value):
                    return seen, None, True
            elif kind == "end":
                return seen and not self.error, value, False

    @staticmethod
    def _opened(response, body):
        kind = response.headers.get_content_type()

        if response.status == 204:
            return False
        if response.status == 200 and kind == "text/event-stream":
            return True
        if response.status == 200:
            raise Failure(REFUSED, f"listen: 200, but {kind}, no "
                          "text/event-stream; is the URL right?")
        if response.status in (502, 503, 504):
            raise Failure(errors.LATER, "listen: " + said(response, body))

        raise Failure(TOKEN if response.status in (401, 403) else REFUSED,
                      "listen: " + said(response, body))

    def _event(self, event):
        # --since makes up a position that no client was at: at the start, lost
        # history before it is not worth reporting

        lost = event["event"] == "control" and "history_lost" in event["data"]

        if event["id"]:
            self.last_id = event["id"]
        if lost and self.since and not self.events:
            return False

        self.events += 1
        return self.on_event(event)


def data_of(event):
    try:
        data = json.loads(event["data"])
    except ValueError:
        return None

    return data if isinstance(data, dict) else None


class Printer:
    def __init__(self, args):
        self.args = args
        self.left = args.count
        self.ids = {}

    def __call__(self, event):
        data = data_of(event)

        if event["event"] != "stream" or data is None:
            if self.args.json:
                out(json.dumps({**event, "data": data or event["data"]},
                               ensure_ascii=False))
            else:
                note(f"{event['event']}: {event['data']}")
            return False

        if self.args.raw:
            self._raw(data)
        elif self.args.json:
            out(json.dumps({**event, "data": data}, ensure_ascii=False))
        else:
            out(f"{event['id']} {data['phase'].removeprefix('PHASE_')} "
                f"{data['sequence']} "
                + json.dumps(data["payload"], ensure_ascii=False))

        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                return True

        return data["phase"] == "PHASE_END" and not self.args.follow

    def _raw(self, data):
        """Writes the bytes that pipe has read.  A message that was stored
        twice is written once; it can be stored twice when it is sent again
        without conduit_publish_idempotency."""
        if data["phase"] == "PHASE_ERROR":
            note("error: " + json.dumps(data["payload"], ensure_ascii=False))
        if data["phase"] != "PHASE_DELTA" or data["message_id"] in self.ids:
            return

        self.ids[data["message_id"]] = True
        if len(self.ids) > 1000:
            del self.ids[next(iter(self.ids))]

        payload = data["payload"] or {}
        text = payload.get(self.args.field)

        if isinstance(text, str):
            piece = text.encode("utf-8", "surrogatepass")
        else:
            try:
                piece = base64.b64decode(payload.get("base64", ""))
            except (ValueError, TypeError):
                return

        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def listen(settings, args):
    if settings.channel == "new":
        note(f"channel {settings.channel_id()}")

    Listener(settings, args, Printer(args)).run()
    return errors.OK


# --- pipe

class Pieces:
    """Cuts the output of a program into payloads: a text if the bytes are
    UTF-8 without NUL, base64 otherwise."""

    def __init__(self, field, by_lines):
        self.field = field
        self.by_lines = by_lines
        self.buffer = b""

    def feed(self, data):
        self.buffer += data

    def next(self, end=False):
        """The next payload; None if more bytes are needed for one."""
        n = len(self.buffer)
        line = self.buffer.find(b"\n") + 1 if self.by_lines else 0

        if 0 < line <= PIECE:
            n = line
        elif n > PIECE:
            n = PIECE
        elif self.by_lines and not end:
            return None

        if n == 0:
            return None

        piece = self._whole(self.buffer[:n], end)

        if not piece:
            return None

        self.buffer = self.buffer[len(piece):]

        try:
            text = piece.decode()
            if "\0" not in text:
                return {self.field: text}
        except UnicodeDecodeError:
            pass

        return {"base64": base64.b64encode(piece).decode()}

    def _whole(self, piece, end):
        """Returns a piece without an incomplete UTF-8 character at its end,
        unless no bytes follow."""
        if end and len(piece) == len(self.buffer):
            return piece

        decoder = codecs.getincrementaldecoder("utf-8")()

        try:
            decoder.decode(piece)
        except UnicodeDecodeError:
            return piece

        held = len(decoder.getstate()[0])
        return piece[:len(piece) - held]


class Pipe:
    def __init__(self, settings, args):
        self.args = args
        self.interval = duration(args.interval, "--interval")
        self.publisher = publisher(settings, args.retry_for)
        self.pieces = Pieces(args.field, args.lines)
        self.messages = 0
        self.child = None
        self.next = 0

    def send(self, payload, phase="DELTA"):
        # output of the program is collected meanwhile, for the next message
        wait = self.next - time.monotonic()
        if wait > 0:
            time.sleep(wait)

        self.next = time.monotonic() + self.interval
        self.publisher.post([message(payload, phase)])
        self.messages += 1

    def run(self):
        self.send({}, "START")

        if self.args.program:
            try:
                self.child = subprocess.Popen(
                    self.args.program, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT if self.args.stderr else None)
            except OSError as e:
                text = f"{self.args.program[0]}: {e.strerror}"
                self.send({"error": text}, "ERROR")
                self.send({}, "END")
                raise Failure(USAGE, text) from None

        source = self.child.stdout if self.child else sys.stdin.buffer

        try:
            self._copy(source.fileno())
            status = self.child.wait() if self.child else 0
        except Failure:
            self._stop()
            raise
        except KeyboardInterrupt:
            self._stop()
            self.send({"error": "interrupted"}, "ERROR")
            self.send({}, "END")
            raise

        return self._ended(status)

    def _copy(self, fd):
        selector = selectors.DefaultSelector()
        try:
            selector.register(fd, selectors.EVENT_READ)
        except PermissionError:
            selector = None         # epoll refuses a file: it is always ready

        while True:
            data = os.read(fd, 65536)

            if self.args.tee:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()

            self.pieces.feed(data)

            while (payload := self.pieces.next(not data)) is not None:
                self.send(payload)
                # until the next message is due, collects more output for it
                while selector and not self.args.lines and data \
                        and len(self.pieces.buffer) < PIECE \
                        and selector.select(
                            max(self.next - time.monotonic(), 0)):
                    more = os.read(fd, 65536)
                    if self.args.tee:
                        sys.stdout.buffer.write(more)
                        sys.stdout.buffer.flush()
                    self.pieces.feed(more)
                    if not more:
                        data = b""

            if not data:
                return

    def _stop(self):
        if self.child and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def _ended(self, status):
        if status == 0:
            self.send({}, "END")
            return errors.OK

        text = f"exit status {status}" if status > 0 \
            else f"killed by {signal.Signals(-status).name}"

        self.send({"error": text}, "ERROR")
        self.send({}, "END")
        raise Failure(errors.NEGATIVE, f"{self.args.program[0]}: {text}")


def pipe(settings, args):
    p = Pipe(settings, args)

    try:
        code = p.run()
    finally:
        p.publisher.close()

    if args.json:
        out(json.dumps({"channel_id": settings.channel_id(),
                        "messages": p.messages}))
    return code
