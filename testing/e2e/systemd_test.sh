#!/bin/bash
# Boots a systemd of its own as process 1 of fresh namespaces, with the broker's units and nothing else, and lets it run
# systemd_inside.py, which says what must hold. The machine's own systemd, /etc, /run and /dev are not touched.
set -euo pipefail
source testing/e2e/runfiles.sh

systemd=/lib/systemd/systemd
[[ -x $systemd ]] || skip "there is no $systemd"
name=systemd
source testing/e2e/own_systemd.sh

source testing/e2e/nvidia_clients.sh
mkdir "$folder/bin"
touch "$folder/said"
cp "$NVSHIM_BROKER" "$NVSHIM_BROKERCTL" "$NVSHIM_PRELOAD" testing/clients/copy_until_told testing/e2e/victims/caller "$folder/bin"
cp broker/exporter/gpu-broker-exporter "$folder/bin"
cp -r broker/systemd "$folder/systemd"
cp testing/e2e/{guests,supervisors,systemd_inside}.py "$folder"
chmod -R a+rX "$folder"

status=0
(
  echo "$BASHPID" >"$cgroup/cgroup.procs"
  exec unshare "${namespaces[@]}" testing/e2e/systemd_boot.sh "$folder" "$clients"
) </dev/null || status=$?
cat "$folder/said"
((status == 0)) || fail "status $status of the systemd of its own; what was said is above"
