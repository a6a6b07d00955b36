#!/bin/bash
# Runs one victim program, $1, as a guest of a private broker; the test fails when the program does, when the broker
# does, and when the broker still holds anything of the program after it ended.
set -euo pipefail
source testing/e2e/runfiles.sh
exec testing/with-broker --no-clients --check-released --verbose -- "$1"
