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


# the settings as --help describes them; docs/cli.md says more

SETTINGS = {
    "url": ("URL", "the part of the server's URL before /publish/ and "
            "/events/: http[s]://host[:port][/path] (default: "
            f"{DEFAULTS['url']})"),
    "channel": ("UUID", "the channel; \"new\" creates one and prints it on "
                "stderr"),
    "org": ("N", f"number of the organization (default: {DEFAULTS['org']})"),
    "issuer": ("ISSUER", "claim iss, which says who made a token (default: "
               f"{DEFAULTS['issuer']})"),
    "audience": ("AUDIENCE", "claim aud, which says whom a token is for "
                 f"(default: {DEFAULTS['audience']})"),
    "subject": ("SUBJECT", "claim sub of new tokens (default: "
                f"{DEFAULTS['subject']})"),
    "ttl": ("TIME", "how long a new token is valid (default: "
            f"{DEFAULTS['ttl']})"),
    "secret-file": ("FILE", "the secret that publishers' tokens are signed "
                    "with (HS256)"),
    "key-file": ("FILE", "the private key that subscribers' tokens are signed "
                 "with, in PEM"),
    "public-key-file": ("FILE", "the public key that subscribers' tokens are "
                        "checked with (default: that of the private key)"),
    "publish-kid": ("KID", "the key ID in a publisher's token"),
    "subscribe-kid": ("KID", "the key ID in a subscriber's token"),
    "ca-file": ("FILE", "trust the certificates in this file instead of the "
                "system's"),
    "timeout": ("TIME", "wait at most this long for a connection, and for "
                f"a reply (default: {DEFAULTS['timeout']})"),
}


def parser():
    p = Parser(prog="conduit", allow_abbrev=False, description="Keys, tokens, "
               "messages and events of Conduit for NGINX.",
               epilog="Exit codes: 0 success; 1 the result is negative; 2 "
               "wrong arguments, settings or files; 3 the server refuses the "
               "token; 4 the server refuses the request, or is not Conduit; 5 "
               "the server can't be reached; 6 nothing was stored after all "
               "retries; 7 a message may have been stored. Times are written "
               "as 500ms, 30s, 5m, 2h or 1d.")
    commands = p.add_subparsers(dest="command", required=True,
                                metavar="COMMAND", parser_class=Parser)

    _keys(commands)
    _token(commands)
    _publish(commands)
    _listen(commands)
    _pipe(commands)
    _doctor(commands)
    return p


def _setting(c, name, *short):
    metavar, text = SETTINGS[name]
    c.add_argument(*short, "--" + name, metavar=metavar, help=text)


def _command(commands, name, run, text, channel=True, url=True):
    c = commands.add_parser(name, help=text, description=text,
                            allow_abbrev=False)
    c.set_defaults(run=run)
    c.add_argument("--config", metavar="FILE",
                   help="read the settings from this file (default: "
                   "~/.config/conduit.toml)")
    c.add_argument("--json", action="store_true",
                   help="print the result as JSON, one object per line")

    s = c.add_argument_group("settings", "Each may also be in the settings "
                             "file, as in key_file = \"...\", or in an "
                             "environment variable, as CONDUIT_KEY_FILE.")
    if url and name != "doctor":
        _setting(s, "url")
    if channel:
        _setting(s, "channel", "-c")

    for option in ("org", "issuer", "audience", "subject", "ttl",
                   "secret-file", "key-file", "public-key-file",
                   "publish-kid", "subscribe-kid", "ca-file", "timeout"):
        _setting(s, option)
    return c


def _keys(commands):
    text = "create a secret for publishers and a key pair for subscribers"
    k = commands.add_parser("keys", help=text, description=text,
                            allow_abbrev=False)
    k.set_defaults(run=_make_keys)
    k.add_argument("directory", nargs="?", default=".", metavar="DIR",
                   help="write the files to this directory (default: the "
                   "current one)")
    k.add_argument("--bits", type=int, choices=(2048, 3072, 4096),
                   default=2048, help="size of the RSA key (default: 2048)")
    k.add_argument("--force", action="store_true",
                   help="replace files that exist")
    k.add_argument("--save", action="store_true",
                   help="also write a settings file with the paths of the "
                   "keys, which the other commands read")
    k.add_argument("--config", metavar="FILE",
                   help="write the settings to this file (default: "
                   "~/.config/conduit.toml)")
    k.add_argument("--json", action="store_true",
                   help="print the paths as JSON")


def _token(commands):
    t = commands.add_parser("token", help="print a token, or check one",
                            allow_abbrev=False)
    kinds = t.add_subparsers(dest="kind", required=True, metavar="KIND",
                             parser_class=Parser)

    _command(kinds, "publish", _print_token, "print a token for a publisher",
             channel=False, url=False)
    _command(kinds, "subscribe", _print_token,
             "print a token for a subscriber of a channel", url=False)
    c = _command(kinds, "check", _check_token, "check a token, read from "
                 "stdin, as the server would")
    c.add_argument("--file", help="read the token from this file")
    c.add_argument("--side", choices=("publish", "subscribe"),
                   help="check it as a publisher's or as a subscriber's token "
                   "(default: its algorithm decides)")
    c.add_argument("--ask", action="store_true",
                   help="ask the server instead of checking with the keys; "
                   "nothing is published")


def _payload_options(c, when=""):
    c.add_argument("--field", default="value", metavar="NAME",
                   help=f"{when}the member of a payload that contains the "
                   "text (default: value)")


def _publish_options(c):
    c.add_argument("--retry-for", default="10s", metavar="TIME",
                   help="try again for this long if the rate is exceeded, "
                   "Redis is not reachable or a connection is lost (default: "
                   "10s)")


def _publish(commands):
    c = _command(commands, "publish", publish, "publish a message for each "
                 "argument, or for each line of stdin")
    c.add_argument("payload", nargs="*", metavar="PAYLOAD",
                   help="a JSON object; anything that does not begin with { "
                   "is sent as text")
    c.add_argument("--phase", type=str.upper, default="DELTA",
                   choices=("START", "DELTA", "END", "ERROR"),
                   help="the part of the stream that the messages are: its "
                   "start, its content, its end, an error (default: DELTA)")
    c.add_argument("--sequence", type=int, metavar="N",
                   help="number of the message in the stream (default: the "
                   "stream's next one)")
    c.add_argument("--text", action="store_true",
                   help="send arguments that begin with { as text, too")
    c.add_argument("--message", action="store_true",
                   help="each argument or line is a whole message in JSON, "
                   "such as {\"phase\": \"END\", \"payload\": {}}")
    c.add_argument("--batch", action="store_true",
                   help="send several messages in one request, which is "
                   "stored completely or not at all")
    c.add_argument("--batch-size", type=_count, default=20, metavar="N",
                   help="send at most this many messages in such a request "
                   "(default: 20)")
    _payload_options(c)
    _publish_options(c)


def _listen(commands):
    c = _command(commands, "listen", listen,
                 "print the events of a channel until END")
    c.add_argument("--since", metavar="TIME",
                   help="begin with the messages that were published this "
                   "long ago")
    c.add_argument("--last-id", metavar="ID",
                   help="begin after the event with this ID")
    c.add_argument("--follow", action="store_true",
                   help="continue after END")
    c.add_argument("--count", type=_count, metavar="N",
                   help="stop after this many events")
    c.add_argument("--raw", action="store_true",
                   help="write only the bytes that \"conduit pipe\" has read")
    c.add_argument("--silence", default="45s", metavar="TIME",
                   help="reconnect if nothing arrives for this long, not even "
                   "a comment (default: 45s)")
    c.add_argument("--give-up", default="60s", metavar="TIME",
                   help="exit if reconnecting fails for this long (default: "
                   "60s)")
    _payload_options(c, "with --raw: ")


def _pipe(commands):
    c = _command(commands, "pipe", pipe, "publish the output of a program, or "
                 "stdin, as a stream: START, DELTA messages and END")
    c.add_argument("program", nargs="*", metavar="-- PROGRAM [ARGUMENT]",
                   help="the program to run (default: read stdin); if it "
                   "fails, an ERROR is published before END")
    c.add_argument("--lines", action="store_true",
                   help="send a DELTA for each line, instead of for what is "
                   "available")
    c.add_argument("--interval", default="60ms", metavar="TIME",
                   help="wait at least this long between two messages "
                   "(default: 60ms)")
    c.add_argument("--tee", action="store_true",
                   help="also write the output to stdout")
    c.add_argument("--stderr", action="store_true",
                   help="also send what the program writes to stderr")
    _payload_options(c)
    _publish_options(c)


def _doctor(commands):
    c = _command(commands, "doctor", doctor, "check the server and the "
                 "proxies in front of it, as a client sees them",
                 channel=False)
    c.add_argument("url", metavar="URL", nargs="?", help=SETTINGS["url"][1])
    c.add_argument("--wait", default="5s", metavar="TIME",
                   help="wait this long for what should arrive at once "
                   "(default: 5s)")
    c.add_argument("--keepalive", default="20s", metavar="TIME",
                   help="wait this long for a comment on an idle stream "
                   "(default: 20s); 0 skips the check")
    c.add_argument("--samples", type=_count, default=20, metavar="N",
                   help="measure the latency with this many messages "
                   "(default: 20)")


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
    """Where --save writes to; an existing file is refused without --force."""
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
    """Asks the server by a request without effect: it posts an invalid
    message, or opens a stream and reads only the header of the response."""
    try:
        header, claims = tokens.parse(token)
    except ValueError:
        header, claims = {}, {}

    # other characters are not allowed in a header
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


# --- the command

def main(argv=None):
    try:
        return _run(argv)
    except Failure as e:
        note(e.text)
        return e.code
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except BrokenPipeError:
        # the program that reads our output has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.OK


def _run(argv):
    args = parser().parse_args(argv)

    if args.command == "keys":
        return args.run(_settings_of_keys(args), args)

    return args.run(Settings({name: getattr(args, name, None) for name in
                              (*DEFAULTS, "config")}), args)
