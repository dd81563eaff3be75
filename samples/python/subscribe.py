#!/usr/bin/env python3
"""Prints the messages of a channel until its END, with requests.

    CONDUIT_SUBSCRIBE_TOKEN=... python3 subscribe.py CHANNEL

What was published before and is still kept comes first.  When the connection
ends before the END (a restart, a network that went away), the next request goes
on after the last event: nothing is lost, nothing comes twice.
"""

import json
import os
import sys
import time

import requests

URL = os.environ.get("CONDUIT_URL", "http://127.0.0.1:8080")
ORG = int(os.environ.get("CONDUIT_ORG", "1"))
TOKEN = os.environ["CONDUIT_SUBSCRIBE_TOKEN"]


def read_events(response):
    """Yields the events of a response, each as a dict of its fields.

    Lines are split as bytes: with decode_unicode, requests would also split at
    characters within a message, such as U+2028.
    """

    event = {}

    for line in response.iter_lines():
        if line == b"":
            yield event
            event = {}
        elif not line.startswith(b":"):  # a comment: the server is there
            field, _, value = line.decode().partition(":")
            event[field] = value.removeprefix(" ")


def subscribe(channel):
    """Yields the messages of a channel."""

    position = None  # ID of the last event
    wait = 1000  # before the next try, in milliseconds
    failures = 0

    while failures < 10:
        headers = {"Authorization": f"Bearer {TOKEN}"}

        if position:
            headers["Last-Event-ID"] = position

        try:
            # a comment comes every 15 seconds: 45 without a byte are a dead
            # connection

            with requests.get(
                f"{URL}/events/{ORG}",
                params={"channel_id": channel},
                headers=headers,
                stream=True,
                timeout=(5, 45),
            ) as response:
                # 401, 403: get a new token, and go on from "position"

                response.raise_for_status()
                failures = 0

                for event in read_events(response):
                    position = event.get("id", position)
                    wait = int(event.get("retry", wait))

                    if event.get("event") == "stream":
                        yield json.loads(event["data"])

                    elif event.get("event") == "control":
                        print("control:", event["data"], file=sys.stderr)

        except requests.HTTPError:
            raise
        except requests.RequestException as e:
            print(f"{e}, trying again", file=sys.stderr)

        failures += 1
        time.sleep(wait / 1000)

    raise RuntimeError("no server")


if __name__ == "__main__":
    for message in subscribe(sys.argv[1]):
        print(
            message["sequence"],
            message["phase"],
            json.dumps(message["payload"]),
            flush=True,
        )

        if message["phase"] == "PHASE_END":
            break
