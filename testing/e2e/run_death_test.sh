#!/bin/bash
# Runs one of the death tests, $1, under a private broker. The test's own process has the shim loaded and opens no
# device file; the guests are the processes that it starts.
set -euo pipefail
source testing/e2e/runfiles.sh
exec testing/with-broker --no-clients --verbose -- python3 -B "$1"
