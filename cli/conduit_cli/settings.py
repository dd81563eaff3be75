# Copyright (C) Conduit for NGINX authors

"""Settings.  Each is taken from an option, or else from the environment, a
file, or the defaults."""

import os
import re
import tomllib
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from .errors import USAGE, Failure

DEFAULTS = {
    "url": "http://127.0.0.1:8080",
    "org": "1",
    "channel": None,
    "issuer": "sentry",
    "audience": "conduit",
    "subject": "conduit",
    "ttl": "600s",
    "secret_file": None,
    "key_file": None,
    "public_key_file": None,
    "publish_kid": None,
    "subscribe_kid": None,
    "ca_file": None,
    "timeout": "10s",
}

# tokens can't be given as options, because other users of the machine can see
# the arguments of a process
TOKENS = ("publish_token", "subscribe_token")

FILES = ("secret_file", "key_file", "public_key_file", "ca_file")

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}


def default_file():
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "conduit.toml"


class Settings:
    """Has an attribute for each setting; "options" are those of the command
    line."""

    def __init__(self, options):
        named = options.get("config") or os.environ.get("CONDUIT_CONFIG")
        self.file = Path(named or default_file()).expanduser()
        in_file = self._read(bool(named))

        for name, default in DEFAULTS.items():
            value = options.get(name)

            if value is None:
                value = os.environ.get("CONDUIT_" + name.upper()) or None
            if value is None:
                value = in_file.get(name, default)

            setattr(self, name, None if value is None else str(value))

        for name in TOKENS:
            setattr(self, name,
                    os.environ.get("CONDUIT_" + name.upper()) or None)

    def _read(self, must_exist):
        try:
            with open(self.file, "rb") as f:
                found = tomllib.load(f)
        except FileNotFoundError:
            if must_exist:
                raise Failure(USAGE, f"{self.file}: no such file") from None
            return {}
        except OSError as e:
            raise Failure(USAGE, f"{self.file}: {e.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise Failure(USAGE, f"{self.file}: {e}") from None

        for name, value in found.items():
            if name not in DEFAULTS:
                raise Failure(USAGE, f"{self.file}: no setting \"{name}\"")
            if isinstance(value, bool) or not isinstance(value, (str, int)):
                raise Failure(USAGE, f"{self.file}: \"{name}\" is neither a "
                              "string nor an integer")
            if name in FILES:
                # relative to the file of settings, not to the working
                # directory
                found[name] = self.file.parent / Path(value).expanduser()

        return found

    def seconds(self, name):
        return duration(getattr(self, name), name)

    def org_id(self):
        if not re.fullmatch(r"[0-9]{1,20}", self.org) \
           or int(self.org) >= 1 << 64:
            raise Failure(USAGE, "the organization is not a 64-bit integer")
        return int(self.org)

    def channel_id(self):
        if self.channel is None:
            raise Failure(USAGE, "no channel: --channel UUID, or \"new\"")
        if self.channel == "new":
            self.channel = str(uuid.uuid4())
        return uuid_of(self.channel, "the channel")

    def base(self):
        """The parts of the URL: scheme, host, port, path without a slash at
        its end."""
        try:
            u = urlsplit(self.url)
            port = u.port
        except ValueError:
            u = port = None

        if u is None or u.scheme not in ("http", "https") or not u.hostname \
           or u.query or u.fragment or u.username is not None:
            raise Failure(USAGE, "the URL is not http[s]://host[:port][/path]")

        return (u.scheme, u.hostname,
                port or (443 if u.scheme == "https" else 80),
                u.path.rstrip("/"))

    def bytes_of(self, name, what):
        """The content of the file that a setting names."""
        path = getattr(self, name)

        if path is None:
            raise Failure(USAGE, f"no {what}: set {name}, or make one with "
                          "\"conduit keys --save\"")
        try:
            return Path(path).expanduser().read_bytes()
        except OSError as e:
            raise Failure(USAGE, f"{path}: {e.strerror}") from None


def uuid_of(text, what):
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Failure(USAGE, f"{what} is not a UUID") from None


def duration(text, what):
    """Converts a time such as "500ms", "30s", "5m", "2h", "1d" or "30" to
    seconds."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|)", str(text))

    if not found or float(found[1]) > 1e10:
        raise Failure(USAGE, f"{what}: no time: \"{text}\" (such as 30s, 5m)")

    return float(found[1]) * UNITS[found[2]]
