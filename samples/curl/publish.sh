#!/bin/bash
#
# Publishes a text to a channel, word by word, with curl:
#
#     CONDUIT_PUBLISH_TOKEN=$(cli/conduit token publish) publish.sh CHANNEL
#
# CHANNEL is a UUID: the address of one stream.  Take a new one for each run
# (one answer, one job): cat /proc/sys/kernel/random/uuid

set -euo pipefail

channel=${1:?usage: publish.sh CHANNEL}
token=${CONDUIT_PUBLISH_TOKEN:?the token of a publisher}
url=${CONDUIT_URL:-http://127.0.0.1:8080}/publish/${CONDUIT_ORG:-1}/$channel

# publish PHASE PAYLOAD
#
# The server gives the message its sequence.  Its ID is made here: a request that
# is sent again may store the message twice, and readers tell by the ID.  With
# "conduit_publish_idempotency" on, the key prevents it in the first place.
#
# --retry does what is right: it waits for Retry-After and tries 429, 503 and 504
# again.  The reply goes into a file, which holds the last one alone then.  The
# token is not an argument, which other users of the machine can see.

publish() {
    local id

    id=$(cat /proc/sys/kernel/random/uuid)

    curl -sS --fail-with-body -o "$reply" --max-time 10 \
         --retry 8 --retry-connrefused --retry-max-time 60 \
         -H @<(printf 'Authorization: Bearer %s\n' "$token") \
         -H 'Content-Type: application/json' \
         -H "Idempotency-Key: $id" \
         -d "{\"message_id\": \"$id\", \"phase\": \"$1\", \"payload\": $2}" \
         "$url" \
        || { cat "$reply" >&2; exit 1; }

    echo "$(cat "$reply")  $1"
}

reply=$(mktemp)
trap 'rm "$reply"' EXIT

publish START '{}'

for word in Every word arrives as it is published.; do
    publish DELTA "{\"value\": \"$word \"}"
done

# readers stop here
publish END '{}'
