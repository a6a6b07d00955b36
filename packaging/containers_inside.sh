#!/bin/bash
# The part of containers_test.sh inside of its namespaces. Laws, for root's containers and for those of an ordinary user:
#
# 1. With a device of `gpu-brokerctl cdi` nvidia-smi in a container sees the simulated GPU, and there is no device file. What the
#    image has in LD_PRELOAD does not count.
# 2. Who has the device of a named guest is that guest, with its limits.
# 3. Under the profile of `gpu-brokerctl seccomp` NVIDIA's ioctls fail with EPERM on any file; others reach the file, as all
#    do under the engine's own profile.
# 4. A user's container needs the user's groups; without them it is not let in.
# usage: containers_inside.sh FOLDER
set -euo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
folder=$1 files=$1/test
readonly socket=/run/gpu-broker/gpu-broker.sock

skip() {
  echo "SKIPPED: $*"
  exit 0
}

fail() {
  echo "FAILED: $*" >&2
  cat /run/log >&2
  exit 1
}

# ---- A host: its /etc may be written, its /run is empty -----------------------------------------------------------

mount --make-rprivate /
umount --recursive /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
mkdir "$folder/etc"
mount -t tmpfs tmpfs "$folder/etc"
cp -a /etc/. "$folder/etc"
mount --move "$folder/etc" /etc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/gpu-broker/guests /run/cdi
mount --make-rshared /

mkfifo /run/ready
"$files/gpu-broker" --no-config --driver=sim --sim-gpu=h100 --socket="$socket" --drain-ms=0 --ready-fd=9 \
  9<>/run/ready >/run/log 2>&1 &
broker=$!
read -r -t 30 _ </run/ready || fail "the broker is not ready"
groupadd --force gpu-broker-guests
chgrp gpu-broker-guests "$socket"
chmod 660 "$socket"
"$files/gpu-brokerctl" --socket "$socket" guests add training --mem 8GiB
"$files/gpu-brokerctl" --socket "$socket" cdi --library "$files/libnvshim.so" --output /run/cdi/gpu-broker.json
"$files/gpu-brokerctl" seccomp --output /run/seccomp.json
chmod a+r /run/seccomp.json /run/cdi/gpu-broker.json

# ---- Containers ---------------------------------------------------------------------------------------------------

# Limits that podman would otherwise raise, and control groups, are what a container around this one may lack.
cat >/run/in_container <<PODMAN
#!/bin/bash
# usage: in_container [OPTION]... IMAGE COMMAND...
exec podman --storage-driver overlay --cgroup-manager cgroupfs \${PODMAN_OPTIONS:-} run --rm --quiet --cgroups=disabled \\
  --network none --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 -v "$files/clients:/clients:ro" \\
  -e LD_LIBRARY_PATH=/clients/lib -e NVSHIM_LOG=1 "\$@"
PODMAN
chmod 755 /run/in_container
confined=(--security-opt seccomp=/run/seccomp.json)

# Prints the errno of RM_CONTROL, of UVM_REGISTER_GPU, of UVM_INITIALIZE and of TIOCGWINSZ on /dev/null.
# shellcheck disable=SC2016  # Perl's variables
ioctls=(perl -e 'for (0xc020462a, 37, 0x30000001, 0x5413) { ioctl(STDIN, $_, 0); print $! + 0, " "; }')
readonly eperm=1 enotty=25

expect() {
  [[ $2 == *"$3"* ]] || fail "$1: '$3' is right, this is '$2'"
}

check() {
  local who=$1
  shift
  expect "nvidia-smi in a container of $who" \
    "$("$@" --device nvshim.dev/gpu=default "${confined[@]}" nvshim-test /clients/bin/nvidia-smi -L)" "NVIDIA H100"
  [[ -z $("$@" --device nvshim.dev/gpu=default nvshim-test find /dev -name 'nvidia*') ]] ||
    fail "a container of $who has device files"
  expect "LD_PRELOAD in a container of $who" "$("$@" --device nvshim.dev/gpu=default nvshim-test printenv LD_PRELOAD)" \
    "$files/libnvshim.so"
  expect "ioctls under the profile" "$("$@" "${confined[@]}" nvshim-test "${ioctls[@]}")" "$eperm $eperm $eperm $enotty"
  expect "ioctls without it" "$("$@" nvshim-test "${ioctls[@]}")" "$enotty $enotty $enotty $enotty"
}

export PODMAN_OPTIONS="--root $folder/images --runroot $folder/run"
# shellcheck disable=SC2086  # two options
podman --storage-driver overlay $PODMAN_OPTIONS import --quiet --change ENV=LD_PRELOAD=/of/the/image.so "$files"/debian-*.tar.gz nvshim-test >/dev/null
said=$(/run/in_container nvshim-test true 2>&1) || skip "podman cannot run a container here: $said"
check root /run/in_container
expect "the device of a named guest" \
  "$(/run/in_container --device nvshim.dev/gpu=training nvshim-test \
    /clients/bin/nvidia-smi --query-gpu=memory.total --format=csv,noheader)" "8192 MiB"
grep --quiet "name=training" /run/log || fail "the guest of nvshim.dev/gpu=training has another name"
echo "containers of root: done"

# ---- Of an ordinary user ------------------------------------------------------------------------------------------

unset PODMAN_OPTIONS
mkdir /run/user
useradd --create-home --home-dir "$folder/home" --groups gpu-broker-guests nvshim-test
mkdir "/run/user/$(id --user nvshim-test)"
chown nvshim-test "/run/user/$(id --user nvshim-test)"
as_user() {
  (cd "$folder/home" && exec setpriv --reuid=nvshim-test --regid=nvshim-test --init-groups --reset-env \
    env PATH="$PATH" XDG_RUNTIME_DIR="/run/user/$(id --user nvshim-test)" "$@")
}
if ! said=$(as_user podman --storage-driver overlay import --quiet --change ENV=LD_PRELOAD=/of/the/image.so "$files"/debian-*.tar.gz nvshim-test 2>&1) ||
  ! said=$(as_user /run/in_container nvshim-test true 2>&1); then
  echo "containers of an ordinary user cannot be run here, and were not: $said"
else
  check "an ordinary user" as_user /run/in_container --group-add keep-groups
  expect "a container without the user's groups" \
    "$(as_user /run/in_container --device nvshim.dev/gpu=default nvshim-test /clients/bin/nvidia-smi -L 2>&1 || true)" \
    "may not connect"
  echo "containers of an ordinary user: done"
fi
kill "$broker"
wait "$broker" || fail "the broker ends with status $?"
