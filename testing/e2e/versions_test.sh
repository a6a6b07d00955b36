#!/bin/bash
# Laws: both drivers speak every version that has a table, to a client that knows that version from its headers alone
# (testing/rm_client), and the machine that it finds is the same in each; a release without a table is served with the
# nearest of its branch; a version of an unknown branch is turned down with the nearest known ones.
set -euo pipefail
source testing/e2e/runfiles.sh

fake_kernel=$PWD/testing/fake_kernel/gpu-broker

# guest VERSION GPU COMMAND...: with profilers, which ask where multiprocessors lie.
guest() {
  local version=$1 gpu=$2
  shift 2
  testing/with-broker --no-clients --driver "$driver" --driver-version "$version" --gpu "$gpu" --check-released \
    --verbose --broker-flag=--capabilities=compute,utility,profiling -- "$@"
}

# client VERSION GPU [FACTS]: what the client of the version, or of another one, finds.
client() {
  guest "$1" "$2" testing/rm_client/rm_client "$1" "proto/abi/facts/${3:-$1}.csv"
}

# same_machine GPU VERSION...: prints it.
same_machine() {
  local gpu=$1 version machine first=
  shift
  for version in "$@"; do
    machine=$(client "$version" "$gpu") || fail "the client of $version on $gpu breaks a law on the $driver driver"
    first=${first:-$machine}
    [[ $machine == "$first" ]] ||
      fail "$gpu is another machine with $version:"$'\n'"$(diff <(echo "$first") <(echo "$machine"))"
  done
  echo "$first"
}

driver=sim
# The tables that the broker has, oldest first: lines that begin with a number.
mapfile -t versions < <("$NVSHIM_BROKER" abi list | awk '$1 ~ /^[0-9]/ {print $1}')
((${#versions[@]} >= 6)) || fail "the broker has tables for ${versions[*]} only"

for gpu in a100 h100 rtx4090; do
  machine=$(same_machine "$gpu" "${versions[@]}")
  echo "--- $gpu with ${versions[*]}"$'\n'"$machine"
done
h100=$(same_machine h100 "${versions[0]}")

# The client bites: what it asks of one version it does not get from another.
for wrong in 535.261.03 595.45.04; do
  if client 570.195.03 h100 "$wrong"; then fail "the client of $wrong is content with a driver of 570.195.03"; fi
done

[[ $(client 535.309.01 h100 535.261.03) == "$h100" ]] || fail "a release of a known branch is not served"

for version in 470.256.02 560.35.03 none; do
  said=$(guest "$version" h100 true 2>&1) && fail "a driver of version $version is simulated"
  [[ $said == *"NVIDIA driver \"$version\" is of no branch that has tables"* ]] || fail "$version: $said"
  case $version in
    470*) nearest="the nearest is ${versions[0]}. " ;;
    560*) nearest="the nearest are 550.163.01 and 570.195.03. " ;;
    *) nearest=${versions[0]} ;;
  esac
  [[ $said == *"$nearest"* ]] || fail "$version is turned down without '$nearest': $said"
done

driver=kernel
export NVSHIM_BROKER=$fake_kernel
for version in "${versions[@]}"; do
  export NVSHIM_FAKE_VERSION=$version
  machine=$(client "$version" h100) || fail "the client of $version breaks a law on the kernel driver"
  [[ $machine == "$h100" ]] || fail "the kernel driver shows another machine with $version"
done
