#!/bin/bash
# Law: what policy.py says; and a broker with a mistake in a policy file does not start, but says where it is.
set -euo pipefail
source testing/e2e/runfiles.sh
source testing/e2e/nvidia_clients.sh

folder=$(mktemp --directory /tmp/nvshim-policy-XXXXXX)
trap 'rm -rf "$folder"' EXIT

printf '# a site\nrule { control: 0x20800110 verdict: PERMIT reason: "why" }\n' >"$folder/mistake.textproto"
if "$NVSHIM_BROKER" --socket="$folder/a.sock" --policy "$folder/mistake.textproto" 2>"$folder/said"; then
  fail "a broker starts with a mistake in its policy"
fi
grep -qF "$folder/mistake.textproto:2:" "$folder/said" || fail "the place of a mistake is not told: $(cat "$folder/said")"

echo 'rule { control: 0x20800110 verdict: DENY reason: "a secret" }' >"$folder/site.textproto"
"$NVSHIM_BROKER" policy diff --policy "$folder/site.textproto" |
  grep -qF "NV2080_CTRL_CMD_GPU_GET_NAME_STRING: allow -> deny (a secret)" || fail "policy diff does not say so"

for mode in denied shadow; do
  flags=(--broker-flag=--policy="$folder/site.textproto")
  [[ $mode == denied ]] || flags+=(--broker-flag=--policy-shadow)
  testing/with-broker --gpu h100 --driver-version "$version" --clients "$clients" --check-released --verbose \
    "${flags[@]}" -- python3 -B testing/e2e/policy.py "$mode" || fail "$mode"
done

# Each capability by itself is good for its kind of program.
with_only() {
  testing/with-broker --gpu h100 --driver-version "$version" --clients "$clients" --check-released --verbose \
    --broker-flag=--capabilities="$1" -- "${@:2}" >"$folder/said" 2>&1 || fail "$*: $(cat "$folder/said")"
}
with_only utility nvidia-smi
with_only utility nvidia-smi -q
with_only compute testing/clients/copy_memory
