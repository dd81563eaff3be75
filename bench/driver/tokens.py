# Copyright (C) Conduit for NGINX authors

"""Tokens and keys for publishers and clients of Conduit."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import time

from .processes import Failed

SECRET = "0123456789abcdef0123456789abcdef"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def publisher_token():
    head = base64url(b'{"alg":"HS256","typ":"JWT"}')
    claims = base64url(json.dumps({
        "sub": "bench", "iss": "bench", "aud": "conduit", "org_id": 1,
        "exp": int(time.time()) + 86400}).encode())
    signature = hmac.new(SECRET.encode(), f"{head}.{claims}".encode(),
                         hashlib.sha256).digest()
    return f"{head}.{claims}.{base64url(signature)}"


_keys = []


def keys(folder):
    """Returns the files of an RSA key pair, which the first call makes:
    private, public."""
    if not _keys:
        private = os.path.join(os.path.dirname(folder), "bench.key")
        public = os.path.join(os.path.dirname(folder), "bench.pem")
        for command in (
                ["openssl", "genrsa", "-out", private, "2048"],
                ["openssl", "rsa", "-in", private, "-pubout", "-out", public]):
            done = subprocess.run(command, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, check=False)
            if done.returncode:
                raise Failed(f"{' '.join(command)}: {done.stderr.decode()}")
        _keys.extend((private, public))
    return _keys
