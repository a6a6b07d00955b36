#!/bin/bash
# Law: what kernel_driver.py says, of NVIDIA's libraries on gpu-broker --driver=kernel with a fake kernel below it.
set -euo pipefail
source testing/e2e/runfiles.sh
source testing/e2e/nvidia_clients.sh

export NVSHIM_BROKER=$PWD/testing/fake_kernel/gpu-broker
folder=$(mktemp --directory /tmp/nvshim-kernel-XXXXXX)
trap 'rm -rf "$folder"' EXIT
export NVSHIM_FAKE_RECORD=$folder/record
# NV2080_CTRL_CMD_FB_GET_INFO_V2, which every client calls: on this machine it is root's. The broker may be root.
export NVSHIM_FAKE_ROOT_ONLY=2080018d

refused() {
  local said
  said=$("$NVSHIM_BROKER" --driver=kernel --socket="$folder/refused.sock" "$@" 2>&1) && fail "starts with $*"
  printf '%s\n' "$said"
}

# One process for several guests: RM could not tell them apart.
said=$(refused --guests-per-worker=2)
grep --quiet 'a worker of its own' <<<"$said" || fail "several guests in a worker: $said"

testing/with-broker --driver kernel --driver-version "$version" --clients "$clients" --check-released --verbose -- \
  python3 -B testing/e2e/kernel_driver.py || fail "the client programs fail on the kernel driver"
