#!/bin/bash
# Runs ioctl_death_test.py under a private broker with a second socket, for another guest. The test's own process has
# the shim loaded and opens no device file; the guests are the processes that it starts.
set -euo pipefail
source testing/e2e/runfiles.sh

source testing/e2e/nvidia_clients.sh
folder=$(mktemp -d /tmp/nvshim-other-XXXXXX)  # not TEST_TMPDIR: the path of a Unix socket has 107 bytes
trap 'rm -rf -- "$folder"' EXIT
export NVSHIM_OTHER_SOCKET=$folder/socket
# The workers must live until they have been looked at.
testing/with-broker --gpu h100 --clients "$clients" --broker-flag="--guest-socket=other=$NVSHIM_OTHER_SOCKET" \
  --broker-flag=--guest-linger-ms=3600000 --verbose -- python3 -B testing/e2e/ioctl_death_test.py
