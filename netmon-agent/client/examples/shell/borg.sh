#!/bin/sh
# A backup by borg that begins when the network is there and outlives its outages.
#
#     BORG_REPO=ssh://backup.example/./repo BORG_PASSPHRASE=… borg.sh /home /etc
#
# More options of `borg create` in BORG_OPTIONS: "--compression zstd --exclude-caches".
# Exit codes: 0 done; 1, or from 100 on with borg 1.4: done with warnings; 75 the network did not come (try again later); borg's own otherwise.
set -eu

# ssh notices a dead connection in 15 s; without this borg would wait for a quarter of an hour and more. The server
# needs the like (ClientAliveInterval of sshd), or the repository stays locked by the connection that died.
export BORG_RSH="${BORG_RSH:-ssh -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3}"

netmon wait --state usable --stable 5s --timeout 1h --spread 10s

# What has arrived by the last checkpoint is not sent again.
netmon retry --profile borg --max-time 6h -- \
    borg create --lock-wait 600 --checkpoint-interval 300 ${BORG_OPTIONS-} "::{hostname}-{now}" "$@"
