#!/bin/bash
# Laws: the kit that pack lays runs; with a simulated GPU its short programs pass, two runs of each print the same, and
# every call that is recorded of them is one that the table knows.
set -euo pipefail
source testing/e2e/runfiles.sh
source testing/e2e/nvidia_clients.sh

# Not TMPDIR, which may be too long for a socket.
folder=$(mktemp --directory /tmp/nvshim-kit-test-XXXXXX)
trap 'rm -rf "$folder"' EXIT

testing/gpu/pack --built "$PWD" "$folder/kit"
only=(--only query_devices --only nvidia_smi_list --only nvidia_smi_details --only vector_add --only graphs
      --only virtual_memory --only ipc --only ipc_event --only shared_descriptor --only two_guests --only fault --only memory_quota)
status=0
# Away from the sources: the kit has all that it needs.
output=$(cd "$folder" && kit/run.sh --driver sim --stand-in --record --clients "$clients" --results "$folder/results" \
  "${only[@]}") || status=$?
echo "$output"
((status == 0)) || fail "the kit ends with status $status"

# expect PATTERN: a line of the kit's output matches the extended regular expression.
expect() {
  grep --quiet --extended-regexp -- "$1" <<<"$output" || fail "the kit prints no line like '$1'"
}
expect '^vector_add +[0-9.]+ +[0-9.]+ +[0-9.]+ +yes +[0-9]+ +0 +pass$'
expect '^two_guests .* pass$'
expect '^ipc .* pass$'
expect '^shared_descriptor .* pass$'
expect '^ipc_event .* known: '
expect '^fault .* skip: kernels do not run here$'
expect '^[0-9]{3,} recorded calls held against the table of [0-9.]+: 0 differences$'
expect '^10 passed, 0 failed, 1 failed as the simulator makes it, 1 skipped$'
python3 -c 'import json, sys; assert len(json.load(open(sys.argv[1]))["results"]) == 12' "$folder/results/results.json"

# A difference is seen: what stands in for the native run is changed by what the program prints itself.
sed --in-place 's|^    Program("nvidia_smi_list".*|    Program("nvidia_smi_list", ("sh", "-c", "echo $HOME")),|' "$folder/kit/table.py"
status=0
output=$(cd "$folder" && kit/run.sh --driver sim --stand-in --clients "$clients" --results "$folder/again" \
  --only nvidia_smi_list) || status=$?
((status == 1)) || fail "the kit ends with status $status although outputs differ"
expect '^nvidia_smi_list .* NO .* FAIL: line 1 is '
