#!/usr/bin/env python3
# Copyright (C) Conduit for NGINX authors

"""Answers of the server that no request made at random gets, compared with
docs/openapi.yaml:

    cases.py up|slow|down

"slow" stops Redis for a while, and "down" is for when there is none.  Prints
what is wrong; the exit status is 1 then.
"""

import os
import signal
import sys
import time
import uuid
from pathlib import Path

import requests
import schemathesis
from schemathesis.checks import CHECKS
from schemathesis.core.failures import FailureGroup

URL = os.environ["CONDUIT_URL"]
ORG = int(os.environ["CONDUIT_ORG"])
CHANNEL = os.environ["CONDUIT_CHANNEL"]
ENDED = os.environ["CONDUIT_ENDED"]  # a channel that has ended
ENDED_ID = os.environ["CONDUIT_ENDED_ID"]
ENDED_TOKEN = os.environ["CONDUIT_ENDED_TOKEN"]
REFUSED = os.environ["CONDUIT_REFUSED"]  # a channel whose key is no stream
REDIS_PID = int(os.environ["CONDUIT_REDIS_PID"])
PUBLISH = os.environ["CONDUIT_PUBLISH_TOKEN"]
SUBSCRIBE = os.environ["CONDUIT_SUBSCRIBE_TOKEN"]

root = Path(__file__).parents[3]
schema = schemathesis.openapi.from_path(root / "docs/openapi.yaml")
schema.config.update(base_url=URL)

checks = CHECKS.get_by_names(
    [
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
failed = False


def expect(status, operation, case, names=(), **request):
    """Sends a request; its answer must have a status, and headers of names."""

    global failed

    response = requests.request(
        operation.method, URL + case.formatted_path, timeout=30, **request
    )
    what = f"{operation.method} {case.formatted_path}: {response.status_code}"

    if response.status_code != status:
        print(f"{what}, not {status}: {response.text}")
        failed = True

    for name in names:
        if name not in response.headers:
            print(f"{what}: no {name}")
            failed = True

    try:
        case.validate_response(response, checks=checks)
    except FailureGroup as error:
        print(f"{what}: {error}")
        failed = True


def publish(
    status,
    names=(),
    channel=None,
    org=ORG,
    sent=None,
    data="{}",
    accepts=("*/*", "application/json"),
):
    """The same request for an answer as text and for one as JSON."""

    operation = schema["/publish/{org_id}/{channel_id}"]["POST"]
    channel = channel or str(uuid.uuid4())
    case = operation.Case(
        path_parameters={"org_id": org, "channel_id": channel},
        body={},
        media_type="application/json",
    )
    for accept in accepts:
        expect(
            status,
            operation,
            case,
            names,
            headers={
                "Authorization": f"Bearer {PUBLISH}",
                "Content-Type": "application/json",
                "Accept": accept,
                **(sent or {}),
            },
            data=data,
        )


def listen(
    status,
    token=SUBSCRIBE,
    channel=CHANNEL,
    position="",
    names=(),
    accept="*/*",
    encoding="gzip",
    **more,
):
    operation = schema["/events/{org_id}"]["GET"]
    query = {"channel_id": channel, "token": token, "last_event_id": position}
    query.update(more)
    case = operation.Case(path_parameters={"org_id": ORG}, query=query)

    expect(
        status,
        operation,
        case,
        names,
        params=query,
        headers={"Accept": accept, "Accept-Encoding": encoding},
    )


def pull(status, names=(), **request):
    listen(status, names=names, accept="application/json", **request)


def page(status, path):
    operation = schema[path]["GET"]

    expect(status, operation, operation.Case())


def up():
    key = str(uuid.uuid4())
    batch = {"Content-Type": "application/x-ndjson"}

    publish(200, ["Conduit-Sequence", "RateLimit", "RateLimit-Policy"])
    publish(200, ["RateLimit"], sent=batch, data="{}\n{}\n")
    publish(200, channel=CHANNEL, sent={"Idempotency-Key": key})
    publish(
        200,
        ["Idempotency-Replayed"],
        channel=CHANNEL,
        sent={"Idempotency-Key": key},
    )
    publish(422, channel=CHANNEL, sent={"Idempotency-Key": key}, data="{ }")
    publish(400, sent={"Idempotency-Key": ""})
    publish(400, data="{")
    publish(400, sent=batch, data='{}\n{"x": 1}\n')
    publish(400, sent={"Content-Type": "application/x-protobuf"}, data="x")
    publish(400, channel="x")
    publish(401, ["WWW-Authenticate"], sent={"Authorization": None})
    publish(401, ["WWW-Authenticate"], sent={"Authorization": "Basic eA=="})
    publish(401, ["WWW-Authenticate"], sent={"Authorization": "Bearer x"})
    publish(403, org=ORG + 1)
    publish(413, data="x" * 16385)
    publish(413, data="x" * 40000)
    publish(413, sent=batch, data="{}\n" * 101)
    publish(415, ["Accept-Encoding"], sent={"Content-Encoding": "gzip"})
    publish(500, ["Conduit-Stored"], channel=REFUSED)

    last = str(uuid.uuid4())
    publish(200, channel=last, data=f'{{"sequence": {2**53 - 3}}}')
    publish(200, channel=last)
    publish(409, channel=last)

    busy = str(uuid.uuid4())
    publish(200, channel=busy, sent=batch, data="{}\n" * 10)
    publish(429, ["Retry-After", "RateLimit"], channel=busy)

    listen(200, names=["Vary"], encoding="identity")
    listen(200, names=["Content-Encoding", "Vary"], encoding="gzip")
    listen(200, position="1-0")
    listen(204, token=ENDED_TOKEN, channel=ENDED, position=ENDED_ID)
    listen(400, channel="x")
    listen(401, token="x", names=["WWW-Authenticate"])
    listen(403, channel=str(uuid.uuid4()))

    pull(200, ["Conduit-Next-Id", "Conduit-Up-To-Date", "Vary"])
    pull(200, ["Conduit-Next-Id"], position="1-0", wait="10ms")
    pull(200, ["Conduit-Stream-Ended"], token=ENDED_TOKEN, channel=ENDED)
    pull(204, token=ENDED_TOKEN, channel=ENDED, position=ENDED_ID)
    pull(400, wait="x")
    pull(401, token="x", names=["WWW-Authenticate"])

    page(200, "/conduit/publish/ready")
    page(200, "/conduit/gateway/ready")


def slow():
    for accept in "*/*", "application/json":
        wait_for_redis()
        os.kill(REDIS_PID, signal.SIGSTOP)

        try:
            publish(504, ["Conduit-Stored"], accepts=[accept])
        finally:
            os.kill(REDIS_PID, signal.SIGCONT)


def wait_for_redis():
    deadline = time.monotonic() + 30

    while time.monotonic() < deadline:
        status = requests.post(
            f"{URL}/publish/{ORG}/{uuid.uuid4()}",
            data="{}",
            headers={
                "Authorization": f"Bearer {PUBLISH}",
                "Content-Type": "application/json",
            },
            timeout=30,
        ).status_code

        if status == 200:
            return

        time.sleep(0.02)

    sys.exit("Redis does not come back")


def down():
    publish(503, ["Conduit-Stored", "Retry-After"])
    page(503, "/conduit/publish/ready")
    page(503, "/conduit/gateway/ready")


{"up": up, "slow": slow, "down": down}[sys.argv[1]]()
sys.exit(failed)
