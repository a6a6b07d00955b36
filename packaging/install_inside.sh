#!/bin/bash
# Run by install_test.sh as a service of the systemd of a Debian 12 that has the two packages in /test. Laws:
#
# 1. apt installs the packages with what this Debian has. The socket then listens and is enabled; no broker runs.
# 2. A user of the group gpu-broker-guests starts nvidia-smi with LD_PRELOAD=libnvshim.so, or with nvshim-run, and sees the
#    GPU that a file in config.toml.d sets. There is no device file. Another user is told who may. Users of the group
#    gpu-broker-admin may ask the broker, as the exporter does.
# 3. An upgrade replaces the supervisor and leaves guests and their workers alone.
# 4. Removal ends guests and leaves the settings; purge leaves nothing.
set -euo pipefail

readonly libraries=/test/clients/lib nvidia_smi=/test/clients/bin/nvidia-smi
readonly service=gpu-broker.service patience_s=20

fail() {
  echo "FAILED: $*"
  journalctl --unit='gpu-broker*' --no-pager --quiet | tail --lines=20
  exit 1
}

trap 'fail "line $LINENO"' ERR

# await WHAT COMMAND...: until the command succeeds.
await() {
  local what=$1 deadline=$((SECONDS + patience_s))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || fail "$what"
    sleep 0.05
  done
}

# as USER COMMAND...: with NVIDIA's libraries, as after a login.
as() {
  local user=$1
  shift
  setpriv --reuid="$user" --regid="$user" --init-groups --reset-env env LD_LIBRARY_PATH="$libraries" "$@"
}

of_service() { systemctl show --value --property="$1" "$service"; }

is_active() { [[ $(of_service ActiveState) == active ]]; }

# metrics_have LINE: as Prometheus would read it.
metrics_have() {
  local metrics
  exec 5<>/dev/tcp/127.0.0.1/9401 || return
  printf 'GET /metrics HTTP/1.0\r\n\r\n' >&5
  metrics=$(cat <&5)
  exec 5>&-
  [[ $metrics == *$'\n'"$1"* ]]
} 2>/dev/null

# What there is that a package could leave behind: not what dpkg, apt and the tools for users keep for themselves.
files() {
  find / -xdev \( -path /test -o -path /proc -o -path /sys -o -path /run -o -path /dev -o -path /tmp -o -path /var/log \
    -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /home \) -prune -o -print |
    grep -vE '^/etc/(passwd|shadow|group|gshadow|subuid|subgid)-?$|^/etc/\.pwd\.lock$' | sort
  find /run/gpu-broker 2>/dev/null || true
}

workers() {
  grep -vx "$(of_service MainPID)" "/sys/fs/cgroup/system.slice/$service/cgroup.procs" | sort
}

files >/tmp/before

# ---- 1
DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes /test/*.deb >/tmp/apt 2>&1 || {
  cat /tmp/apt
  fail "apt-get install"
}
[[ $(systemctl is-enabled gpu-broker.socket) == enabled ]] || fail "the socket is not enabled"
[[ $(systemctl is-active gpu-broker.socket) == active ]] || fail "the socket does not listen"
[[ $(of_service ActiveState) == inactive ]] || fail "a broker runs before somebody needs it"
gpu-broker --check-config

# ---- 2
mkdir /etc/gpu-broker/config.toml.d
printf 'driver = "sim"\nsim-gpu = "h100"\n' >/etc/gpu-broker/config.toml.d/test.toml
useradd --groups gpu-broker-guests alice
useradd bob
[[ -z $(find /dev -name 'nvidia*') ]] || fail "there are device files"
for way in "LD_PRELOAD=libnvshim.so" "nvshim-run"; do
  # shellcheck disable=SC2086  # one word or an assignment, both for env
  said=$(as alice $way "$nvidia_smi" 2>&1) || fail "nvidia-smi with $way: $said"
  [[ $said == *H100* ]] || fail "nvidia-smi with $way sees another GPU: $said"
done
echo "$said"
[[ $(gpu-brokerctl version) == "$(dpkg-query --show --showformat='${Version}' gpu-broker)" ]] || fail "which version?"
useradd --groups gpu-broker-admin carol
said=$(as carol gpu-brokerctl stats 2>&1) || fail "gpu-brokerctl stats of a user of the group gpu-broker-admin: $said"
[[ $said == *worker_pid* ]] || fail "gpu-brokerctl stats: $said"
if said=$(as alice gpu-brokerctl stats 2>&1); then
  fail "a guest asks the broker about other guests: $said"
fi
systemctl enable --quiet --now gpu-broker-exporter.service || fail "the exporter does not start"
await "the exporter does not see the broker" metrics_have "gpubroker_up 1"
if said=$(as bob LD_PRELOAD=libnvshim.so NVSHIM_LOG=1 "$nvidia_smi" 2>&1); then
  fail "bob is a guest: $said"
fi
[[ $said == *"may not connect"*"in its group may"* ]] || fail "bob is not told who may: $said"

# ---- 3
coproc caller { as alice LD_PRELOAD=libnvshim.so /test/caller; }
guest=$caller_PID
read -r line <&"${caller[0]}"
[[ $line == calling ]] || fail "a guest says '$line'"
before=$(of_service MainPID) workers_before=$(workers)
[[ -n $workers_before ]] || fail "no workers"
dpkg --install /test/gpu-broker_*.deb >/tmp/dpkg 2>&1 || {
  cat /tmp/dpkg
  fail "the upgrade"
}
await "no new supervisor" is_active
[[ $(of_service MainPID) != "$before" ]] || fail "an upgrade leaves the old supervisor"
[[ $(workers) == "$workers_before" ]] || fail "an upgrade ends workers: $workers_before were there, $(workers) are"
eval "exec ${caller[1]}>&-"
read -r line <&"${caller[0]}"
[[ $line == "done" ]] || fail "a guest notices an upgrade: '$line'"
wait "$guest" || fail "a guest ends with status $? after an upgrade"

# ---- 4
systemctl enable --quiet gpu-broker-guest@training.socket
apt-get remove --quiet --quiet --yes gpu-broker libnvshim >/tmp/apt 2>&1 || {
  cat /tmp/apt
  fail "apt-get remove"
}
[[ $(systemctl is-active gpu-broker.socket || true) == inactive ]] || fail "the socket outlives its package"
[[ ! -e /sys/fs/cgroup/system.slice/$service ]] || fail "processes of the broker outlive its package"
[[ -e /etc/gpu-broker/config.toml.d/test.toml ]] || fail "a removal takes settings away"
apt-get purge --quiet --quiet --yes gpu-broker libnvshim >/tmp/apt 2>&1 || fail "apt-get purge: $(</tmp/apt)"
systemctl --quiet is-failed gpu-broker.service && fail "systemd keeps a failed service"
left=$(files | diff /tmp/before - || true)
[[ -z $left ]] || fail "installed and purged, this is another system: $left"
echo "installed, used, upgraded, removed, purged"
