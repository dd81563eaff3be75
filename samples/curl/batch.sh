#!/bin/bash
#
# Publishes several messages in one request, with curl: all of them are stored, in
# their order and with no other in between, or none.
#
#     CONDUIT_PUBLISH_TOKEN=$(cli/conduit token publish) batch.sh CHANNEL
#
# One message a line.  conduit_publish_rate counts each of them: with its default
# of 20 a second, 20 are the most that a request may have.

set -euo pipefail

channel=${1:?usage: batch.sh CHANNEL}
token=${CONDUIT_PUBLISH_TOKEN:?the token of a publisher}

curl -sS --fail-with-body --max-time 10 \
     -H @<(printf 'Authorization: Bearer %s\n' "$token") \
     -H 'Content-Type: application/x-ndjson' \
     --data-binary @- \
     "${CONDUIT_URL:-http://127.0.0.1:8080}/publish/${CONDUIT_ORG:-1}/$channel" <<END
{"phase": "START"}
{"payload": {"value": "one "}}
{"payload": {"value": "two "}}
{"phase": "END"}
END
