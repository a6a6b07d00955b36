#!/bin/bash
# Laws: the simulated driver speaks every version that has a table, to a client that was written after that version's
# headers (testing/rm_client), and the machine that it shows is the same in each; a release without a table is served
# with the nearest of its branch; a version of an unknown branch is turned down with the nearest known ones.
set -euo pipefail
source testing/e2e/runfiles.sh

# With profilers, which ask where multiprocessors lie.
guest() {
  local version=$1 gpu=$2
  shift 2
  testing/with-broker --no-clients --driver-version "$version" --gpu "$gpu" --check-released --verbose \
    --broker-flag=--capabilities=compute,utility,profiling -- "$@"
}

# The tables that the broker has, oldest first: lines that begin with a number.
mapfile -t versions < <("$NVSHIM_BROKER" abi list | awk '$1 ~ /^[0-9]/ {print $1}')
((${#versions[@]} >= 6)) || fail "the broker has tables for ${versions[*]} only"

for gpu in a100 h100 rtx4090; do
  first=
  for version in "${versions[@]}"; do
    machine=$(guest "$version" "$gpu" testing/rm_client/rm_client "$version" "proto/abi/facts/$version.csv") ||
      fail "the client of $version on $gpu ends with status $?"
    first=${first:-$machine}
    [[ $machine == "$first" ]] || fail "$gpu is another machine with $version:"$'\n'"$(diff <(echo "$first") <(echo "$machine"))"
  done
  echo "$gpu with ${versions[*]}:"
  echo "$first"
done

# A client of one version breaks its laws on a driver of another one: the laws bite.
if guest 580.95.05 h100 testing/rm_client/rm_client 535.261.03 proto/abi/facts/535.261.03.csv; then
  fail "a client of 535.261.03 is content with a driver of 580.95.05"
fi

guest 535.309.01 h100 testing/rm_client/rm_client 535.309.01 proto/abi/facts/535.261.03.csv ||
  fail "a release of a known branch is not served"

for version in 470.256.02 560.35.03 none; do
  said=$(guest "$version" h100 true 2>&1) && fail "a driver of version $version is simulated"
  [[ $said == *"NVIDIA driver \"$version\" is of no branch that has tables"* ]] || fail "$version: $said"
  case $version in
    470*) nearest="the nearest is ${versions[0]}" ;;
    560*) nearest="the nearest are 550.163.01 and 570.195.03" ;;
    *) nearest=${versions[0]} ;;
  esac
  [[ $said == *"$nearest"* ]] || fail "$version is turned down without '$nearest': $said"
done
