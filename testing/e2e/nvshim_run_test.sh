#!/bin/bash
# Law: what nvshim_run.py says; and to nvidia-smi and libcuda nvshim-run makes no difference: they see the same GPU,
# copies are equal, and memory of the program's own is registered.
set -euo pipefail
source testing/e2e/runfiles.sh

# Not TMPDIR, which may be too long for a socket.
folder=$(mktemp --directory /tmp/nvshim-run-XXXXXX)
trap 'rm -rf "$folder"' EXIT
testing/with-broker --no-clients --check-released --verbose --broker-flag=--guest-socket=alice="$folder/alice.sock" -- \
  python3 -B testing/e2e/nvshim_run.py broker/run/nvshim-run "$folder/alice.sock" || fail "status $?"

source testing/e2e/nvidia_clients.sh
# guest COMMAND...: a guest of a broker of its own.
guest() {
  testing/with-broker --gpu h100 --driver-version "$version" --clients "$clients" --check-released --verbose -- "$@" ||
    fail "$* ends with status $?"
}
# The shim comes with nvshim-run, and with nothing else.
under_filter() { guest env --unset=LD_PRELOAD broker/run/nvshim-run --library="$NVSHIM_PRELOAD" -- "$@"; }

# same COMMAND...: it says the same as without the filter.
same() {
  local plain filtered
  plain=$(guest "$@")
  filtered=$(under_filter "$@")
  [[ -n $plain && $plain == "$filtered" ]] || fail "$*:"$'\n'"$plain"$'\n'"under nvshim-run:"$'\n'"$filtered"
}
same nvidia-smi -L
same testing/clients/copy_memory $((1 << 20))
same testing/clients/host_memory
