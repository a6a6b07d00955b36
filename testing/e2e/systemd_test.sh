#!/bin/bash
# Boots a systemd of its own as process 1 of fresh namespaces, with the broker's units and nothing else, and lets it run
# systemd_inside.py, which says what must hold. The machine's own systemd, /etc, /run and /dev are not touched.
set -euo pipefail
source testing/e2e/runfiles.sh

systemd=/lib/systemd/systemd
((EUID == 0)) || skip "only root may make the namespaces that a systemd of one's own needs"
[[ -x $systemd ]] || skip "there is no $systemd"
unified=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
[[ -n $unified ]] || skip "no control groups of version 2 are mounted here"
cgroup=$unified/nvshim-test-$$
mkdir "$cgroup" 2>/dev/null || skip "no control group can be made in $unified"
folder=$(mktemp -d /tmp/nvshim-systemd-XXXXXX)
# shellcheck disable=SC2317  # called by the trap
clean_up() {
  rm -rf -- "$folder"
  find "$cgroup" -depth -type d -exec rmdir {} + || true
}
trap clean_up EXIT
unshare --pid --mount --cgroup --ipc --uts --net --fork --mount-proc mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null ||
  skip "namespaces cannot be made here, or control groups not mounted in them"

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
  exec unshare --pid --mount --cgroup --ipc --uts --net --fork --kill-child --mount-proc \
    testing/e2e/systemd_boot.sh "$folder" "$clients"
) </dev/null || status=$?
cat "$folder/said"
((status == 0)) || fail "status $status of the systemd of its own; what was said is above"
