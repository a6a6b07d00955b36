#!/bin/bash
# Runs containers of podman as guests, with a mount namespace of their own for what podman reads on the host: what must hold
# is in containers_inside.sh.
set -euo pipefail
source testing/e2e/runfiles.sh

((EUID == 0)) || skip "only root may make the namespaces that keep this machine's /etc and /run out of it"
command -v podman >/dev/null || skip "podman is not installed (testing/setup --packages installs it)"
folder=$(mktemp -d /tmp/nvshim-podman-XXXXXX)
trap 'rm -rf -- "$folder"' EXIT
namespaces=(--pid --mount --cgroup --ipc --uts --fork --kill-child --mount-proc)
unshare "${namespaces[@]}" mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null ||
  skip "namespaces cannot be made here, or control groups of version 2 not mounted in them"

source testing/e2e/nvidia_clients.sh
status=0
debian=$(packaging/debian_root) || status=$?
((status != 77)) || skip "there is no Debian to make an image of, and none can be made here"
((status == 0)) || fail "packaging/debian_root ends with status $status"

mkdir "$folder/test"
cp "$NVSHIM_BROKER" "$NVSHIM_PRELOAD" broker/ctl/gpu-brokerctl "$debian" "$folder/test"
cp --recursive "$clients" "$folder/test/clients"
chmod -R a+rX "$folder"
unshare "${namespaces[@]}" packaging/containers_inside.sh "$folder" </dev/null
