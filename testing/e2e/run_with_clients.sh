#!/bin/bash
# Runs a test, $1, with NVIDIA's libraries. The test's own process is no guest; those that it starts are.
set -euo pipefail
source testing/e2e/runfiles.sh

source testing/e2e/nvidia_clients.sh
testing/with-broker --gpu h100 --clients "$clients" -- python3 -B "$1"
