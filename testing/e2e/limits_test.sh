#!/bin/bash
# Laws: what limits.py says.
set -euo pipefail
source testing/e2e/runfiles.sh

# Not TMPDIR, which may be too long for a socket.
folder=$(mktemp --directory /tmp/nvshim-limits-XXXXXX)
trap 'rm -rf "$folder"' EXIT

hold() {
  local law=$1
  shift
  OTHER_SOCKET="$folder/other.sock" testing/with-broker --no-clients --check-released --verbose \
    --broker-flag=--guest-socket=other="$folder/other.sock" "${@/#/--broker-flag=}" -- \
    python3 -B testing/e2e/limits.py ${law} || fail "limits: $law"
}

for guests_per_worker in 1 4; do
  shared="--guests-per-worker=$guests_per_worker"
  hold guest "$shared" --limit={files=4,clients=2,objects=6,channels=1,video_memory=1MiB,pinned_memory=2MiB}
  hold processes "$shared" --limit=processes=1
  hold lanes "$shared" --limit=lanes=1
  hold call_bytes "$shared" --limit=call_bytes=16
  hold rate "$shared" --limit=frames_per_second=100
  hold "rate --both" "$shared" --uid-limit=frames_per_second=100
done
hold uid --uid-limit=clients=3
