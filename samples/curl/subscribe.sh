#!/bin/bash
#
# Prints the messages of a channel until its END, with curl:
#
#     CONDUIT_SUBSCRIBE_TOKEN=$(cli/conduit token subscribe -c CHANNEL) \
#         subscribe.sh CHANNEL
#
# What was published before and is still kept comes first.  When the connection
# ends before the END (a restart, a network that went away), the next request
# goes on after the last event: nothing is lost, nothing comes twice.

set -euo pipefail

channel=${1:?usage: subscribe.sh CHANNEL}
token=${CONDUIT_SUBSCRIBE_TOKEN:?the token of a subscriber of this channel}
url=${CONDUIT_URL:-http://127.0.0.1:8080}/events/${CONDUIT_ORG:-1}

last=            # ID of the last event: the position in the stream
wait=1000        # before the next try, in milliseconds
failures=0

while [ $failures -lt 10 ]; do

    # The server sends a comment every 15 seconds, so 45 without a byte are a
    # dead connection (--speed-time).  -N prints each event when it comes.

    coproc curl -sSN --fail-with-body --speed-limit 1 --speed-time 45 \
        -H @<(printf 'Authorization: Bearer %s\n' "$token") \
        ${last:+-H "Last-Event-ID: $last"} \
        "$url?channel_id=$channel"
    curl=$COPROC_PID

    while read -r field value; do
        case $field in
            retry:) wait=$value failures=0 ;;
            event:) event=$value ;;
            id:) last=$value ;;
            data:)
                echo "$last $event $value"

                case $event$value in
                    stream*'"phase":"PHASE_END"'*) wait "$curl"; exit ;;
                esac
                ;;
        esac
    done <&"${COPROC[0]}"

    # 22: the server refuses the request, and will do so again
    wait "$curl" || [ $? -ne 22 ] || exit 1

    failures=$((failures + 1))
    sleep "$((wait / 1000)).$(printf %03d $((wait % 1000)))"
done

echo "subscribe.sh: no server" >&2
exit 1
