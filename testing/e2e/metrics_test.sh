#!/bin/bash
# Runs metrics_test.py with Debian's Prometheus: an installed one, or one that is unpacked into the user's cache. Its package
# is not installed here, because that starts a server.
set -euo pipefail
source testing/e2e/runfiles.sh

# HOME is Bazel's here; the programs belong into the cache of the user.
home=$(getent passwd "$(id -u)" | cut -d: -f6)
cache=${XDG_CACHE_HOME:-$home/.cache}/nvshim/prometheus
if ! command -v promtool >/dev/null && [[ ! -x $cache/usr/bin/promtool ]]; then
  work=$(mktemp --directory)
  trap 'rm -rf "$work"' EXIT
  (cd "$work" && apt-get --quiet=2 download prometheus && dpkg-deb --extract prometheus_*.deb tree) ||
    skip "there is no Prometheus here, and apt-get cannot download its package"
  mkdir -p "${cache%/*}"
  mv --no-target-directory "$work/tree" "$cache"
fi
export PATH=$PATH:$cache/usr/bin NVSHIM_EXPORTER=$PWD/broker/exporter/gpu-broker-exporter
testing/with-broker --no-clients -- python3 -B testing/e2e/metrics_test.py
