#!/bin/sh
# netmon without netmon: curl and the socket. Commands: status, wait [STATE [TIMEOUT]], events.
# Exit codes are those of `netmon wait`: 0 it is so, 75 not by the deadline, 69 no agent answers, 2 usage.
set -u
socket=${NETMON_SOCKET:-/run/netmon/netmon.sock}

ask() { curl --silent --show-error --unix-socket "$socket" "$@"; }

case ${1-status} in
status)
    ask --fail http://netmon/v1/status || exit 69
    ;;
wait)
    # The body says what stands in the way; the code is on a line of its own behind it.
    answer=$(ask --get --data-urlencode "state=${2:-usable}" ${3:+--data-urlencode "timeout=$3"} \
        --write-out '\n%{http_code}' http://netmon/v1/wait) || exit 69
    printf '%s' "${answer%????}"
    case ${answer##*[!0-9]} in
    200) exit 0 ;;
    409) exit 75 ;;
    503) exit 69 ;;
    *) exit 2 ;;
    esac
    ;;
events)
    # One JSON object a change. --no-buffer: a pipe gets each as it comes.
    ask --fail --no-buffer http://netmon/v1/events | sed --unbuffered --quiet 's/^data: *//p'
    # It has no end while the agent is there.
    exit 69
    ;;
*)
    sed --quiet '2,3s/^# //p' "$0" >&2
    exit 2
    ;;
esac
