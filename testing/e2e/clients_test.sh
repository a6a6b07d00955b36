#!/bin/bash
# Law: NVIDIA's own unmodified nvidia-smi and libcuda, as guests, see the GPU that the broker simulates, and copy memory
# to it and back.
# usage: clients_test.sh GPU NAME MEMORY_MIB. The libraries are fetched once into the user's cache; without them, and
# without a mirror to fetch them from, the test is skipped.
set -euo pipefail
source testing/e2e/runfiles.sh

gpu=$1 name=$2 memory_mib=$3
version=535.261.03

# HOME is Bazel's here; the libraries belong into the cache of the user.
home=$(getent passwd "$(id -u)" | cut -d: -f6)
clients=${XDG_CACHE_HOME:-$home/.cache}/nvshim/clients/$version
mkdir -p "$(dirname "$clients")" 2>/dev/null || clients=$TEST_TMPDIR/clients/$version
status=0
testing/clients/get "$version" "$clients" || status=$?
if ((status == 77)); then
  skip "NVIDIA's libraries are not in $clients and no Debian mirror can be reached"
elif ((status != 0)); then
  fail "testing/clients/get ends with status $status"
fi

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

copied=$(guest testing/clients/copy_memory)
expect "$copied" '^all copies are equal$'

waited=$(guest testing/clients/blocking_waits)
expect "$waited" '^all waits returned$'

refused=$(guest testing/clients/refused_kernel)
expect "$refused" '^a kernel ends with error 719$'

queried=$(guest testing/clients/query_devices)
expect "$queried" "$name"
