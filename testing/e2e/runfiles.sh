# Sourced by the end-to-end tests, which Bazel starts in the root of their runfiles: says where the parts are.
# shellcheck shell=bash
export NVSHIM_BROKER=$PWD/broker/gpu-broker
export NVSHIM_BROKERCTL=$PWD/broker/ctl/gpu-brokerctl
export NVSHIM_PRELOAD=$PWD/preload/libnvshim.so

# The reason goes where a person looks (the log) and testing/test counts it from there: sh_test knows no "skipped".
skip() {
  echo "SKIPPED: $*"
  exit 0
}

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
