#!/bin/sh
# A copy by rclone that begins when the network is there and outlives its outages.
#
#     rclone.sh /srv/exports remote:exports
#
# Exit codes: 0 done; 75 the network did not come (try again later); rclone's own otherwise.
set -eu

netmon wait --state usable --stable 5s --timeout 1h --spread 10s

# rclone's own retries would burn within the outage what netmon sits out; a silent connection is given up in 10 s, not
# in five minutes. What has arrived is not sent again.
netmon retry --profile rclone --max-time 6h -- \
    rclone copy --retries 1 --low-level-retries 1 --contimeout 10s --timeout 10s "$@"
netmon retry --profile rclone --max-time 1h -- rclone check --one-way "$@"
