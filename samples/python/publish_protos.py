#!/usr/bin/env python3
"""Publishes a text to a channel as protobuf, with Sentry's own sentry-protos.

    CONDUIT_SECRET_FILE=publish.secret python3 publish_protos.py CHANNEL

Only worth it where messages are protobuf already: publish.py does the same with
JSON.  What the server fills in there is yours here: the sequence and the IDs.
"""

import os
import sys
import time
import uuid

import jwt  # PyJWT
import requests
from sentry_protos.conduit.v1alpha.publish_pb2 import Phase, PublishRequest

URL = os.environ.get("CONDUIT_URL", "http://127.0.0.1:8080")
ORG = int(os.environ.get("CONDUIT_ORG", "1"))

with open(os.environ["CONDUIT_SECRET_FILE"]) as file:
    SECRET = file.read().removesuffix("\n")


def token():
    """Publishers sign their own tokens; publish.py says what is in one."""

    return jwt.encode(
        {
            "iss": "sentry",
            "aud": "conduit",
            "sub": "sample",
            "org_id": ORG,
            "exp": int(time.time()) + 600,
        },
        SECRET,
        algorithm="HS256",
    )


def publish(channel, sequence, phase, payload=None):
    """Publishes one message; returns the ID of its entry.

    The sequence must rise with every message of the channel, START and END
    included: conduit-client drops a message whose sequence is not above that of
    the last one, and says nothing.  A channel that is used for a further turn
    goes on where it was.
    """

    message = PublishRequest(
        channel_id=channel,
        message_id=str(uuid.uuid4()),
        phase=phase,
        sequence=sequence,
    )
    message.client_timestamp.GetCurrentTime()

    if payload is not None:
        message.payload.update(payload)

    # the same bytes each time: readers drop what comes twice by message_id

    body = message.SerializeToString()
    error = None
    wait = 0

    for _ in range(10):
        time.sleep(wait)
        wait = 1

        try:
            response = requests.post(
                f"{URL}/publish/{ORG}/{channel}",
                data=body,
                headers={
                    "Authorization": f"Bearer {token()}",
                    "Content-Type": "application/x-protobuf",
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
    words = "Every word arrives as it is published.".split()

    print(publish(channel, 1, Phase.PHASE_START))

    for n, word in enumerate(words, start=2):
        print(publish(channel, n, Phase.PHASE_DELTA, {"value": f"{word} "}))

    print(publish(channel, len(words) + 2, Phase.PHASE_END))
