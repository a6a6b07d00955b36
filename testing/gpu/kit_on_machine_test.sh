#!/bin/bash
# Laws: on a machine that looks as if it had a GPU the kit runs programs natively, starts its broker with --driver=kernel as
# another user, gives guests no device nodes, and finds that both ways print the same; a program that cannot run
# without the broker either is told apart. Below the kernel driver is the fake kernel.
set -euo pipefail
source testing/e2e/runfiles.sh
source testing/e2e/nvidia_clients.sh

(($(id -u) == 0)) || skip "only root can give a command a /dev of its own"
unshare --mount mount --make-rprivate / 2>/dev/null || skip "mount namespaces cannot be made here"

# Not TMPDIR, which may be too long for a socket.
folder=$(mktemp --directory /tmp/nvshim-machine-XXXXXX)
trap 'rm -rf "$folder"' EXIT
testing/gpu/pack --built "$PWD" "$folder/kit"
cp --force testing/fake_kernel/gpu-broker "$folder/kit/bin/gpu-broker"

here=$PWD
only=(--only attach --only query_devices --only nvidia_smi_query --only host_memory --only memory_info --only two_guests
      --only vector_add)
status=0
output=$(cd "$folder" && unshare --mount "$here/testing/gpu/pretend_machine.sh" "$folder" "$NVSHIM_BROKER" \
  "$NVSHIM_PRELOAD" "$clients" kit/run.sh --record --results "$folder/results" "${only[@]}") || status=$?
echo "$output"

# expect PATTERN: a line of the kit's output matches the extended regular expression.
expect() {
  grep --quiet --extended-regexp -- "$1" <<<"$output" || fail "the kit prints no line like '$1'"
}
expect "^driver: ${version//./\\.}\$"
expect '^gpu: GPU 0: NVIDIA H100'
expect '^broker_user: nobody$'
expect '^guests_see_nodes: False$'
for name in attach query_devices nvidia_smi_query host_memory memory_info; do
  expect "^$name +[0-9.]+ +[0-9.]+ +[0-9.]+ +yes +[0-9]+ +0 +pass\$"
done
expect '^two_guests +- .* pass$'
expect '^[0-9]{3,} recorded calls held against the table of [0-9.]+: 0 differences$'
# The simulated GPU runs no kernels, here as little as there.
expect '^vector_add .* native: natively status 1: '
expect '^6 passed, 0 failed, 1 failed without the broker as well$'
((status == 1)) || fail "the kit ends with status $status although a program failed"
