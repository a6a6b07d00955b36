#!/bin/bash
# Law: what worker_uids.py says.
set -euo pipefail
source testing/e2e/runfiles.sh

first=20001 last=20002
((EUID == 0)) || skip "only root may give workers other user ids"
setpriv --reuid=$first true 2>/dev/null || skip "root of this machine, a container perhaps, cannot become user $first"
testing/with-broker --no-clients --check-released --verbose --broker-flag=--worker-uid-range=$first-$last \
  --broker-flag=--guest-linger-ms=0 -- python3 -B testing/e2e/worker_uids.py $first $last
