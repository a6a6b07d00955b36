#!/bin/bash
# Runs metrics_test.py, where there is a Prometheus.
set -euo pipefail
source testing/e2e/runfiles.sh

for program in prometheus promtool; do
  command -v "$program" >/dev/null || skip "there is no $program here; testing/setup --prometheus installs it"
done
export NVSHIM_EXPORTER=$PWD/broker/exporter/gpu-broker-exporter
testing/with-broker --no-clients -- python3 -B testing/e2e/metrics_test.py
