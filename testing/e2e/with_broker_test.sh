#!/bin/bash
# Laws of testing/with-broker: the command's status is its own, the command alone is a guest, nothing stays behind.
set -euo pipefail
source testing/e2e/runfiles.sh

# status_of WANTED COMMAND...: runs COMMAND with a broker and compares.
status_of() {
  local wanted=$1 status=0
  shift
  testing/with-broker --no-clients -- "$@" || status=$?
  ((status == wanted)) || fail "status $status of '$*', $wanted is right"
}
status_of 0 true
status_of 7 sh -c 'exit 7'
status_of 137 sh -c 'kill -KILL $$'
status_of 143 sh -c 'kill -TERM $$'
status_of 127 /nonexistent/program
status_of 126 /etc/passwd

status=0
testing/with-broker --no-clients --gpu nonesuch -- true 2>message || status=$?
((status == 125)) || fail "status $status of a GPU that does not exist, 125 is right"
grep --quiet nonesuch message || fail "the message does not name the GPU that does not exist: $(cat message)"

# shellcheck disable=SC2016  # expanded by the guest
testing/with-broker --no-clients -- sh -c 'echo "$LD_PRELOAD|$NVSHIM_SOCKET|$HOME"' >environment
IFS='|' read -r preload socket home <environment
[[ $preload == *libnvshim.so ]] || fail "LD_PRELOAD of the guest is '$preload'"
[[ -n $home && $home != "${HOME:-}" ]] || fail "the guest writes into the caller's HOME"
[[ -n $socket && ! -e $socket && ! -e $(dirname "$socket") ]] || fail "'$socket' stays behind"

# shellcheck disable=SC2016
testing/with-broker --no-clients -- sh -c 'tr "\0" "\n" </proc/$PPID/environ' | grep --quiet '^LD_PRELOAD=' &&
  fail "the script is a guest of its own broker"

# SIGTERM reaches the command, and the broker is stopped before the script ends.
# shellcheck disable=SC2016
coproc with_broker { exec testing/with-broker --no-clients -- sh -c 'echo "$NVSHIM_SOCKET"; exec sleep 1000'; }
# shellcheck disable=SC2154  # set by coproc
pid=$with_broker_PID
read -r socket <&"${with_broker[0]}"
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
((status == 143)) || fail "status $status after SIGTERM, 143 is right"
[[ ! -e $socket ]] || fail "'$socket' stays behind after SIGTERM"

# Side by side: as many brokers as there are scripts.
pids=()
for number in 1 2 3 4 5 6; do
  testing/with-broker --no-clients -- sh -c "exit $number" &
  pids+=($!)
done
for number in 1 2 3 4 5 6; do
  status=0
  wait "${pids[number - 1]}" || status=$?
  ((status == number)) || fail "status $status of six at the same time, $number is right"
done
