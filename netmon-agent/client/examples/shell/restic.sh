#!/bin/sh
# A backup by restic that begins when the network is there and outlives its outages.
#
#     RESTIC_REPOSITORY=rest:http://backup.example:8000/ RESTIC_PASSWORD_FILE=/etc/restic/password restic.sh /home /etc
#
# Exit codes: 0 done; 75 the network did not come (try again later); restic's own otherwise.
set -eu

# Now or within the hour; a fleet that waited out the same outage does not come back in one moment.
netmon wait --state usable --stable 5s --timeout 1h --spread 10s

# restic keeps what it has uploaded: an attempt begins where the last one was cut.
netmon retry --profile restic --max-time 6h -- restic backup --host "$(hostname)" "$@"
netmon retry --profile restic --max-time 1h -- restic check
