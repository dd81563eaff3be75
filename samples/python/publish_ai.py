#!/usr/bin/env python3
"""Publishes an answer of a model for the AI SDK's useChat(), as JSON.

    CONDUIT_SECRET_FILE=publish.secret python3 publish_ai.py TURN

TURN is a UUID, the address of one stream: a new one for each answer.  The
publisher needs no package of the SDK: what it publishes is the SDK's "UI
message stream", version 1.
"""

import sys

from publish import publish


def publish_turn(turn, words):
    """Publishes what a model says, word by word, as it says it.

    Publish START before the page learns of the turn: from then on it is
    running, for a page that is reloaded, too.
    """

    def chunk(**fields):
        publish(turn, "DELTA", fields)

    try:
        chunk(type="start", messageId=turn)
        chunk(type="start-step")
        chunk(type="text-start", id="1")

        for word in words:
            chunk(type="text-delta", id="1", delta=word)

        chunk(type="text-end", id="1")
        chunk(type="finish-step")
        chunk(type="finish")
    except Exception:
        chunk(type="error", errorText="no answer")
        raise
    finally:
        publish(turn, "END")  # "data: [DONE]"


def model():
    """YOURS: a model, which gives its answer piece by piece."""

    for word in "Every word arrives as it is published.".split():
        yield f"{word} "


if __name__ == "__main__":
    publish(sys.argv[1], "START")
    publish_turn(sys.argv[1], model())
