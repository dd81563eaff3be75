# Copyright (C) Conduit for NGINX authors

"""Keys and tokens: makes and reads them, and checks them as the modules do."""

import base64
import binascii
import json
import os
import re
import secrets
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import load_pem_x509_certificate

from .errors import TOKEN, USAGE, Failure
from .settings import uuid_of

LEEWAY = 60          # seconds, of exp and nbf, as in the modules
MAX_LEN = 16384      # bytes; the modules refuse longer tokens

CURVES = {"secp256r1": "ES256", "secp384r1": "ES384"}
ALGORITHMS = ["RS256", *CURVES.values(), "EdDSA"]


def secret(settings):
    data = settings.bytes_of("secret_file", "secret of publishers")

    # one line end after the secret is not part of it
    data = re.sub(rb"\r?\n\Z", b"", data)

    # the modules refuse such a file, too
    if b"-----BEGIN " in data:
        raise Failure(USAGE, f"{settings.secret_file}: a PEM file, not a "
                      "secret")
    if not data:
        raise Failure(USAGE, f"{settings.secret_file}: the secret is empty")

    return data


def algorithm(key):
    """The algorithm that the modules accept with a key; None: they don't
    accept such a key."""
    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        return "RS256"

    if isinstance(key, (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)):
        return "EdDSA"

    if isinstance(key, (ec.EllipticCurvePrivateKey,
                        ec.EllipticCurvePublicKey)):
        return CURVES.get(key.curve.name)

    return None


def private_key(settings):
    data = settings.bytes_of("key_file", "private key of subscribers' tokens")

    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None

    if algorithm(key) is None:
        raise Failure(USAGE, f"{settings.key_file}: no private key in PEM "
                      "(RSA, P-256, P-384, Ed25519), or one with a password")
    return key


def public_key(settings):
    """The key of public_key_file, or else the public half of the private
    key."""
    if settings.public_key_file is None and settings.key_file is not None:
        return private_key(settings).public_key()

    data = settings.bytes_of("public_key_file",
                             "public key of subscribers' tokens")
    try:
        if b"BEGIN CERTIFICATE" in data:
            key = load_pem_x509_certificate(data).public_key()
        else:
            key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None

    if algorithm(key) is None:
        raise Failure(USAGE, f"{settings.public_key_file}: no public key in "
                      "PEM (RSA, P-256, P-384, Ed25519)")
    return key


# --- tokens are made

def publish_token(settings, ttl=None):
    now = int(time.time())
    claims = {"iss": settings.issuer, "aud": settings.audience,
              "sub": settings.subject, "org_id": settings.org_id(),
              "iat": now, "exp": now + int(ttl or settings.seconds("ttl"))}

    return sign(claims, secret(settings), "HS256", settings.publish_kid)


def subscribe_token(settings, ttl=None):
    now = int(time.time())
    claims = {"iss": settings.issuer, "aud": settings.audience,
              "sub": settings.subject, "org_id": settings.org_id(),
              "channel_id": settings.channel_id(),
              "iat": now, "exp": now + int(ttl or settings.seconds("ttl"))}

    key = private_key(settings)

    return sign(claims, key, algorithm(key), settings.subscribe_kid)


def sign(claims, key, alg, kid):
    return jwt.encode(claims, key, alg, {"kid": kid} if kid else None)


class Source:
    """Tokens for a side (publish, subscribe): a given one, or else one made
    from the key, which is replaced before it expires."""

    def __init__(self, settings, side):
        self.settings = settings
        self.side = side
        self.token = getattr(settings, side + "_token")
        self.until = None if self.token is None else float("inf")

    def get(self):
        if self.token is None or time.time() > self.until:
            ttl = self.settings.seconds("ttl")
            make = publish_token if self.side == "publish" else subscribe_token
            self.token = make(self.settings, ttl)
            self.until = time.time() + ttl / 2

        return self.token

    def can(self):
        return self.token is not None or getattr(
            self.settings, "secret_file" if self.side == "publish"
            else "key_file") is not None


# --- tokens are checked

def check(settings, token, side=None, now=None):
    """The result that the modules would have: a dictionary with "valid",
    "side", "fault", "status", "reply" and "text".  Checks are in the order of
    the modules; the first fault is the result."""
    now = int(time.time()) if now is None else now

    try:
        header, claims = parse(token)
    except ValueError as e:
        return verdict(side, "malformed", f"the token is malformed: {e}")

    alg = header.get("alg")

    if side is None:
        side = "publish" if str(alg).startswith("HS") else "subscribe"

    wanted = ["HS256"] if side == "publish" else ALGORITHMS

    if alg not in wanted or header.get("crit") is not None:
        return verdict(side, "algorithm", "the token is signed with "
                       f"{json.dumps(alg)}, a {side} token is with "
                       + " or ".join(wanted))

    fault = check_key(settings, side, header, token, alg) \
        or check_claims(settings, side, claims, now)

    if fault:
        return verdict(side, *fault)

    return verdict(side, None, "the token is valid, it expires "
                   + when(claims["exp"], now))


def verdict(side, fault, text):
    reply = {None: None, "expired": "Token expired",
             "claims": "Invalid token claims"}.get(
        fault, "Token validation failed" if side == "publish"
        else "Invalid token")

    return {"valid": fault is None, "side": side, "fault": fault,
            "status": 200 if fault is None else
            403 if fault == "claims" else 401,
            "reply": reply, "text": text}


def parse(token):
    """The header and the claims; ValueError says what is wrong."""
    if len(token) > MAX_LEN:
        raise ValueError(f"longer than {MAX_LEN} bytes")

    parts = token.split(".")

    if len(parts) != 3:
        raise ValueError("it does not have three parts with dots in between")

    decoded = []

    for part, name in zip(parts, ("header", "payload", "signature")):
        if not re.fullmatch(r"[A-Za-z0-9_-]*", part):
            raise ValueError(f"its {name} is not base64url")
        try:
            decoded.append(base64.urlsafe_b64decode(
                part + "=" * (-len(part) % 4)))
        except binascii.Error:
            raise ValueError(f"its {name} is not base64url") from None

    return (json_object(decoded[0], "header"),
            json_object(decoded[1], "payload"))


def json_object(data, name):
    def once(pairs):
        if len({k for k, _ in pairs}) < len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    try:
        value = json.loads(data.decode(), object_pairs_hook=once)
    except (ValueError, RecursionError):
        value = None

    if not isinstance(value, dict):
        raise ValueError(f"its {name} is not a JSON object, or has a duplicate "
                         "member")

    return value


def check_key(settings, side, header, token, alg):
    ours = getattr(settings, side + "_kid")
    kid = header.get("kid")

    if kid is not None and not isinstance(kid, str):
        return "malformed", "the token's key id is not a string"

    # a key without a key ID is tried with every token

    if kid is not None and ours is not None and kid != ours:
        return "key", f"no key has the token's key id {json.dumps(kid)}, " \
                      f"the one of the settings is {json.dumps(ours)}"

    key = secret(settings) if side == "publish" else public_key(settings)

    if side != "publish" and algorithm(key) != alg:
        return "algorithm", f"the token is signed with {json.dumps(alg)}, " \
                            f"the key is for {algorithm(key)}"

    try:
        jwt.api_jws.PyJWS().decode_complete(token, key, [alg])
    except jwt.PyJWTError:
        file = settings.secret_file if side == "publish" \
            else settings.public_key_file or settings.key_file
        return "signature", "the signature is wrong: the token was not made " \
                            f"with the key of {file}"
    return None


def check_claims(settings, side, claims, now):
    exp, nbf = claims.get("exp"), claims.get("nbf")

    if not number(exp):
        return "claim", "the claim \"exp\" is missing or no number"
    if nbf is not None and not number(nbf):
        return "claim", "the claim \"nbf\" is not a number"
    if now > int(exp) + LEEWAY:
        return "expired", f"the token has expired {when(exp, now)}"
    if nbf is not None and now < int(nbf) - LEEWAY:
        return "not_yet", f"the token is not valid before {when(nbf, now)}"

    if claims.get("iss") != settings.issuer:
        return "issuer", differs("issuer", "iss", claims, settings.issuer)

    aud = claims.get("aud")

    if aud != settings.audience and not (isinstance(aud, list)
                                         and settings.audience in aud):
        return "audience", differs("audience", "aud", claims,
                                   settings.audience)

    if side == "publish" and not isinstance(claims.get("sub"), str):
        return "claim", "the claim \"sub\" is missing or no string"

    return check_place(settings, side, claims)


def check_place(settings, side, claims):
    """Checks the claims org_id and channel_id.  A publisher's token need not
    have org_id, and its channel_id is ignored."""
    org = claims.get("org_id")

    if org is None and side == "publish":
        return None
    if not isinstance(org, int) or isinstance(org, bool) \
       or not 0 <= org < 1 << 64:
        return "claim", "the claim \"org_id\" is missing or no integer"
    if org != settings.org_id():
        return "claims", f"the token is for the organization {org}, not for " \
                         f"{settings.org}"
    if side == "publish":
        return None

    try:
        channel = uuid_of(claims.get("channel_id"), "")
    except (Failure, AttributeError, TypeError):
        return "claim", "the claim \"channel_id\" is missing or no UUID"

    if settings.channel is not None and channel != settings.channel_id():
        return "claims", f"the token is for the channel {channel}, not for " \
                         f"{settings.channel_id()}"
    return None


def number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def differs(what, claim, claims, wanted):
    has = json.dumps(claims[claim]) if claim in claims else "missing"
    return f"the {what} is {has}, the server wants {json.dumps(wanted)}"


def when(t, now):
    try:
        stamp = datetime.fromtimestamp(t, timezone.utc)
        text = f"at {stamp:%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"at {t}"

    side = "ago" if t < now else "from now"
    return f"{text}, {int(abs(t - now))} s {side}"


# --- keys

def make_keys(directory, bits, force):
    """Writes a secret and a key pair; returns their paths.  Without force,
    nothing is written if one of the files exists."""
    directory = Path(directory).expanduser()
    paths = {"secret_file": directory / "publish.secret",
             "key_file": directory / "gateway.key",
             "public_key_file": directory / "gateway.pem"}

    for path in paths.values():
        if path.exists() and not force:
            raise Failure(USAGE, f"{path} exists; --force replaces it")

    key = rsa.generate_private_key(65537, bits)
    pem = serialization.Encoding.PEM
    texts = {
        "secret_file": secrets.token_hex(32).encode() + b"\n",
        "key_file": key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()),
        "public_key_file": key.public_key().public_bytes(
            pem, serialization.PublicFormat.SubjectPublicKeyInfo),
    }

    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, path in paths.items():
            write(path, texts[name],
                  0o644 if name == "public_key_file" else 0o600)
    except OSError as e:
        raise Failure(USAGE, f"{e.filename}: {e.strerror}") from None

    return paths


def write(path, data, mode):
    """Writes a file under another name and renames it, so that it is never
    incomplete, or readable before its mode is set."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
        os.chmod(new, mode)
        os.rename(new, path)
    except OSError:
        os.unlink(new)
        raise


def read_token(file):
    """Reads a token from a file or stdin, not from an argument, which other
    users of the machine could see."""
    try:
        text = sys.stdin.read(MAX_LEN + 2) if file in (None, "-") \
            else Path(file).read_text("ascii")
    except OSError as e:
        raise Failure(USAGE, f"{file}: {e.strerror}") from None
    except UnicodeDecodeError:
        raise Failure(TOKEN,
                      "the token is malformed: it is not ASCII") from None

    return text.strip()
