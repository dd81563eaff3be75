# Copyright (C) Conduit for NGINX authors

"""The command line."""

import argparse
import json
import os
import sys
from pathlib import Path

from . import errors, tokens
from .client import connect, said
from .doctor import doctor
from .errors import USAGE, Failure
from .messages import listen, note, out, pipe, publish
from .settings import DEFAULTS, Settings, default_file


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Failure(USAGE, f"{message} (see {self.prog} --help)")


def parser():
    p = Parser(prog="conduit", allow_abbrev=False, description="Keys, tokens, "
               "messages and events of Conduit for NGINX.",
               epilog="Exit codes: 0 done, 1 the answer is no, 2 usage, 3 the "
               "token is refused, 4 the request is refused, 5 no server, 6 "
               "try again later, 7 the message may have been stored.")
    commands = p.add_subparsers(dest="command", required=True,
                                metavar="COMMAND", parser_class=Parser)

    _keys(commands)
    _token(commands)
    _publish(commands)
    _listen(commands)
    _pipe(commands)

    d = _command(commands, "doctor", doctor, "what stands between you and the "
                 "server, each with time and verdict", channel=False)
    d.add_argument("url", metavar="URL", nargs="?",
                   help="http[s]://host[:port][/path] in front of /publish/ "
                   "and /events/")
    d.add_argument("--wait", default="5s", metavar="TIME",
                   help="for what should come at once (5s)")
    d.add_argument("--keepalive", default="20s", metavar="TIME",
                   help="for a comment on an idle stream (20s); 0: skip")
    d.add_argument("--samples", type=_count, default=20, metavar="N",
                   help="messages whose latency is taken (20)")
    return p


def _command(commands, name, run, text, channel=True, url=True):
    c = commands.add_parser(name, help=text, description=text,
                            allow_abbrev=False)
    c.set_defaults(run=run)
    c.add_argument("--config", metavar="FILE", help="file of settings "
                   "(~/.config/conduit.toml)")
    c.add_argument("--json", action="store_true", help="print JSON")
    if url and name != "doctor":
        c.add_argument("--url", help="http[s]://host[:port][/path] in front "
                       "of /publish/ and /events/")
    if channel:
        c.add_argument("-c", "--channel", metavar="UUID",
                       help="the channel; \"new\" makes one")
    c.add_argument("--org", metavar="N", help="the organization (1)")

    for option in ("issuer", "audience", "subject", "ttl", "secret-file",
                   "key-file", "public-key-file", "publish-kid",
                   "subscribe-kid", "ca-file", "timeout"):
        c.add_argument("--" + option, metavar=option.split("-")[-1].upper(),
                       help=f"the setting {option.replace('-', '_')}")
    return c


def _keys(commands):
    k = commands.add_parser("keys", help="make a secret and a key pair",
                            description="make a secret and a key pair",
                            allow_abbrev=False)
    k.set_defaults(run=_make_keys)
    k.add_argument("directory", nargs="?", default=".", metavar="DIR",
                   help="where to (the current one)")
    k.add_argument("--bits", type=int, choices=(2048, 3072, 4096),
                   default=2048, help="of the RSA key (2048)")
    k.add_argument("--force", action="store_true",
                   help="replace files that exist")
    k.add_argument("--save", action="store_true",
                   help="write the settings that use them")
    k.add_argument("--config", metavar="FILE",
                   help="where to (~/.config/conduit.toml)")
    k.add_argument("--json", action="store_true", help="print JSON")


def _token(commands):
    t = commands.add_parser("token", help="make a token, or check one",
                            allow_abbrev=False)
    kinds = t.add_subparsers(dest="kind", required=True, metavar="KIND",
                             parser_class=Parser)

    _command(kinds, "publish", _print_token, "make a token of a publisher",
             channel=False, url=False)
    _command(kinds, "subscribe", _print_token, "make a token of a subscriber",
             url=False)
    c = _command(kinds, "check", _check_token, "what the server would say to a "
                 "token, which is read from stdin")
    c.add_argument("--file", help="read it from a file")
    c.add_argument("--side", choices=("publish", "subscribe"),
                   help="for which route (by its algorithm)")
    c.add_argument("--ask", action="store_true",
                   help="ask the server, nothing is published")


def _payload_options(c):
    c.add_argument("--field", default="value", metavar="NAME",
                   help="member of the payload that holds text (value)")


def _publish_options(c):
    c.add_argument("--retry-for", default="10s", metavar="TIME",
                   help="try again what may pass, with the same "
                   "Idempotency-Key (10s)")


def _publish(commands):
    c = _command(commands, "publish", publish,
                 "publish arguments, or stdin line by line")
    c.add_argument("payload", nargs="*", metavar="PAYLOAD",
                   help="a JSON object, or text")
    c.add_argument("--phase", type=str.upper, default="DELTA",
                   choices=("START", "DELTA", "END", "ERROR"))
    c.add_argument("--sequence", type=int, metavar="N",
                   help="instead of the stream's next")
    c.add_argument("--text", action="store_true",
                   help="a payload that looks like JSON is text as well")
    c.add_argument("--message", action="store_true",
                   help="each is a whole PublishRequest in JSON")
    c.add_argument("--batch", action="store_true",
                   help="several in one request, all or none")
    c.add_argument("--batch-size", type=_count, default=20, metavar="N",
                   help="messages in a request at most (20)")
    _payload_options(c)
    _publish_options(c)


def _listen(commands):
    c = _command(commands, "listen", listen, "print events until END")
    c.add_argument("--since", metavar="TIME",
                   help="what was published so long ago and later")
    c.add_argument("--last-id", metavar="ID", help="what follows this event")
    c.add_argument("--follow", action="store_true", help="go on after END")
    c.add_argument("--count", type=_count, metavar="N",
                   help="stop after so many")
    c.add_argument("--raw", action="store_true",
                   help="write the bytes that pipe took, no more")
    c.add_argument("--silence", default="45s", metavar="TIME",
                   help="reconnect when nothing comes for so long (45s)")
    c.add_argument("--give-up", default="60s", metavar="TIME",
                   help="when reconnecting fails for so long (60s)")
    _payload_options(c)


def _pipe(commands):
    c = _command(commands, "pipe", pipe, "publish what a program writes, or "
                 "stdin: START, DELTAs, END; ERROR before END if it fails")
    c.add_argument("program", nargs="*", metavar="-- PROGRAM [ARGUMENT]",
                   help="what to run (none: read stdin)")
    c.add_argument("--lines", action="store_true",
                   help="a DELTA for each line, not for what is there")
    c.add_argument("--interval", default="60ms", metavar="TIME",
                   help="between two messages at least (60ms)")
    c.add_argument("--tee", action="store_true",
                   help="write it to stdout, too")
    c.add_argument("--stderr", action="store_true",
                   help="what it writes to stderr as well")
    _payload_options(c)
    _publish_options(c)


def _count(text):
    n = int(text)
    if n < 1:
        raise ValueError
    return n


_count.__name__ = "number"


# --- keys

def _make_keys(settings, args):
    file = settings.file if settings else None
    paths = {name: path.resolve() for name, path in tokens.make_keys(
        args.directory, args.bits, args.force).items()}

    if file:
        lines = [f"{name} = {json.dumps(str(path))}"
                 for name, path in paths.items()]
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            tokens.write(file, "\n".join(lines + [""]).encode(), 0o600)
        except OSError as e:
            raise Failure(USAGE, f"{file}: {e.strerror}") from None

    if args.json:
        out(json.dumps({name: str(p) for name, p in paths.items()}
                       | ({"config": str(file)} if file else {})))
        return errors.OK

    out(f"conduit_publish_jwt_secret_file {paths['secret_file']};\n"
        f"conduit_gateway_jwt_key_file {paths['public_key_file']};")
    return errors.OK


def _settings_of_keys(args):
    """Where --save writes to; nothing that is there is lost."""
    if not args.save:
        return None

    settings = _Place(args.config or os.environ.get("CONDUIT_CONFIG")
                      or default_file())

    if settings.file.exists() and not args.force:
        raise Failure(USAGE, f"{settings.file} exists; --force replaces it")

    return settings


class _Place:
    def __init__(self, file):
        self.file = Path(file).expanduser()


# --- tokens

def _print_token(settings, args):
    token = tokens.publish_token(settings) if args.kind == "publish" \
        else tokens.subscribe_token(settings)

    if args.json:
        made = {"token": token}
        if args.kind == "subscribe":
            made |= {"channel_id": settings.channel_id()}
        out(json.dumps(made))
    else:
        out(token)
        if settings.channel and args.kind == "subscribe" \
           and args.channel == "new":
            note(f"channel {settings.channel_id()}")

    return errors.OK


def _check_token(settings, args):
    token = tokens.read_token(args.file)

    if args.ask:
        result = _ask(settings, token, args.side)
    else:
        result = tokens.check(settings, token, args.side)

    if args.json:
        out(json.dumps(result))
    elif result["valid"]:
        out(result["text"])
    else:
        reply = f" ({result['status']} {result['reply']})" \
            if result["reply"] else ""
        note(result["text"] + reply)

    return errors.OK if result["valid"] else errors.NEGATIVE


def _ask(settings, token, side):
    """Asks by a request that does nothing: a message that is none, or the
    header of a stream."""
    try:
        header, claims = tokens.parse(token)
    except ValueError:
        header, claims = {}, {}

    # a header of HTTP takes less than what a token may not have
    if not token.isascii() or not token.isprintable():
        raise Failure(errors.TOKEN, "the token is malformed: it has other "
                      "characters than base64url and dots")

    side = side or ("publish" if str(header.get("alg")).startswith("HS")
                    else "subscribe")

    if settings.channel is None:
        found = claims.get("channel_id")
        settings.channel = found if isinstance(found, str) else "new"

    c = connect(settings)
    path, org, channel = (settings.base()[3], settings.org_id(),
                          settings.channel_id())
    headers = {"Authorization": f"Bearer {token}"}

    try:
        if side == "publish":
            headers |= {"Content-Type": "application/json",
                        "Accept": "application/json"}
            c.request("POST", f"{path}/publish/{org}/{channel}", b"[]",
                      headers)
        else:
            c.request("GET", f"{path}/events/{org}?channel_id={channel}",
                      headers=headers)
        r = c.getresponse()
        body = b"" if r.status == 200 else r.read(65536)
    except OSError as e:
        raise Failure(errors.UNREACHABLE, f"no answer: {e}") from None
    finally:
        c.close()

    valid = r.status == (400 if side == "publish" else 200) \
        or (r.status == 204 and side == "subscribe")

    if not valid and r.status not in (401, 403):
        raise Failure(errors.REFUSED, "the server says: " + said(r, body))

    return {"valid": valid, "side": side, "fault": None,
            "status": 200 if valid else r.status, "reply": None,
            "text": "the server takes the token" if valid else
            "the server says: " + said(r, body)}


# --- all of it

def main(argv=None):
    try:
        return _run(argv)
    except Failure as e:
        note(e.text)
        return e.code
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except BrokenPipeError:
        # who reads our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.OK


def _run(argv):
    args = parser().parse_args(argv)

    if args.command == "keys":
        return args.run(_settings_of_keys(args), args)

    return args.run(Settings({name: getattr(args, name, None) for name in
                              (*DEFAULTS, "config")}), args)
