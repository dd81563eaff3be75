#!/usr/bin/env python3
"""Publishes a text to a channel, word by word, as JSON with requests.

    CONDUIT_SECRET_FILE=publish.secret python3 publish.py CHANNEL

CHANNEL is a UUID: the address of one stream.  Take a new one for each run (one
answer, one job): python3 -c 'import uuid; print(uuid.uuid4())'
"""

import os
import sys
import time
import uuid

import jwt  # PyJWT
import requests

URL = os.environ.get("CONDUIT_URL", "http://127.0.0.1:8080")
ORG = int(os.environ.get("CONDUIT_ORG", "1"))

with open(os.environ["CONDUIT_SECRET_FILE"]) as file:
    SECRET = file.read().removesuffix("\n")

session = requests.Session()  # keeps the connection


def token():
    """Publishers sign their own tokens; the secret never leaves the servers."""

    return jwt.encode(
        {
            "iss": "sentry",  # conduit_publish_jwt_issuer
            "aud": "conduit",  # conduit_publish_jwt_audience
            "sub": "sample",  # who publishes: any string
            "org_id": ORG,  # for conduit_publish_org_claim
            "exp": int(time.time()) + 600,
        },
        SECRET,
        algorithm="HS256",
    )


def publish(channel, phase, payload=None):
    """Publishes one message; returns the ID of its entry.

    The server gives the message its sequence.  Its ID is made here, once: a
    request that is sent again may store the message twice, and readers tell by
    the ID.  With "conduit_publish_idempotency" on, the key prevents it in the
    first place.
    """

    message_id = str(uuid.uuid4())
    error = None
    wait = 0

    for _ in range(10):
        time.sleep(wait)
        wait = 1

        try:
            response = session.post(
                f"{URL}/publish/{ORG}/{channel}",
                json={
                    "message_id": message_id,
                    "phase": phase,
                    "payload": payload,
                },
                headers={
                    "Authorization": f"Bearer {token()}",
                    "Idempotency-Key": message_id,
                },
                timeout=5,
            )
        except (requests.ConnectionError, requests.Timeout) as e:
            error = e
            continue

        if response.status_code == 200:
            return response.text

        # these pass: over the rate, Redis is away, Redis is slow

        error = f"{response.status_code} {response.text}"

        if response.status_code not in (429, 503, 504):
            break

        wait = int(response.headers.get("Retry-After", wait))

    raise RuntimeError(f"not published: {error}")


if __name__ == "__main__":
    channel = sys.argv[1]

    print(publish(channel, "START"))

    for word in "Every word arrives as it is published.".split():
        print(publish(channel, "DELTA", {"value": f"{word} "}))

    print(publish(channel, "END"))  # readers stop here
