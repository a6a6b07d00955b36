#!/bin/bash
# Law: what quota.py says, for guests with a worker each and for guests that share one.
set -euo pipefail
source testing/e2e/runfiles.sh
source testing/e2e/nvidia_clients.sh

# Not TMPDIR, which may be too long for a socket.
folder=$(mktemp --directory /tmp/nvshim-quota-XXXXXX)
trap 'rm -rf "$folder"' EXIT

for guests_per_worker in 1 4; do
  testing/with-broker --gpu h100 --driver-version "$version" --clients "$clients" --check-released --verbose \
    --broker-flag=--guests-per-worker=$guests_per_worker \
    --broker-flag=--mem-quota=1GiB \
    --broker-flag=--guest-socket=other="$folder/other.sock" --broker-flag=--guest-mem-quota=other=2GiB -- \
    python3 -B testing/e2e/quota.py 1024 "$folder/other.sock" 2048 ||
    fail "with $guests_per_worker guests per worker"
done
