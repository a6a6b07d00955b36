#!/bin/bash
# Law: NVIDIA's own unmodified nvidia-smi, as a guest, sees the GPU that the broker simulates; and what
# client_suite.py says about the programs of testing/clients.
# usage: clients_test.sh GPU NAME MEMORY_MIB [DRIVER_VERSION]
set -euo pipefail
source testing/e2e/runfiles.sh
gpu=$1 name=$2 memory_mib=$3 version=${4:-}
source testing/e2e/nvidia_clients.sh

cuda_version=cuda-11.8.89
fetch "$cuda_version"

guest() {
  testing/with-broker --gpu "$gpu" --driver-version "$version" --clients "$clients" --check-released --verbose -- "$@" ||
    fail "$* on $gpu ends with status $?"
}

# expect TEXT PATTERN: a line of TEXT matches the extended regular expression.
expect() {
  grep --quiet --extended-regexp -- "$2" <<<"$1" || fail "no line like '$2' in:"$'\n'"$1"
}

uuid='GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'

list=$(guest nvidia-smi -L)
expect "$list" "^GPU 0: $name \\(UUID: $uuid\\)\$"

table=$(guest nvidia-smi)
expect "$table" "Driver Version: ${version//./\\.} "
expect "$table" "\\| +0 +$name"
# The column has eight characters: 143771MiB is printed as "14377...".
expect "$table" "/ *(${memory_mib}MiB|${memory_mib:0:5}\\.\\.\\.) "

query=$(guest nvidia-smi -q)
expect "$query" "^ +Product Name +: $name\$"
expect "$query" "^Driver Version +: ${version//./\\.}\$"
expect "$query" "^ +Total +: $memory_mib MiB\$"
expect "$query" "^ +GPU UUID +: $uuid\$"

csv=$(guest nvidia-smi --query-gpu=name,memory.total,driver_version,uuid --format=csv)
expect "$csv" '^name, memory.total \[MiB\], driver_version, uuid$'
expect "$csv" "^$name, $memory_mib MiB, ${version//./\\.}, $uuid\$"

# The same GPU has the same UUID for every guest.
[[ $(grep -oE "$uuid" <<<"$csv") == $(grep -oE "$uuid" <<<"$list") ]] || fail "the UUID changes between two guests"

# Guests of their own, beside the one that the others are. Not TMPDIR, which may be too long for a socket.
folder=$(mktemp --directory /tmp/nvshim-guests-XXXXXX)
trap 'rm -rf "$folder"' EXIT
sockets=() flags=(--broker-flag=--guest-linger-ms=600000)  # workers must be there to be asked when all is done
for number in 1 2 3 4 5 6 7 8; do
  sockets+=("$folder/$number.sock")
  flags+=("--broker-flag=--guest-socket=guest$number=$folder/$number.sock")
done
testing/with-broker --gpu "$gpu" --driver-version "$version" --clients "$clients" --check-released --verbose \
  "${flags[@]}" -- python3 -B testing/e2e/client_suite.py \
  "$cache/$cuda_version" "$name" "$memory_mib" "$version" "${sockets[@]}" ||
  fail "the client programs fail on $gpu"
