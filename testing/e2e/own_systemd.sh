# Sourced by tests that boot a systemd of their own, after runfiles.sh and with $name set: makes $folder, and $cgroup for
# its processes, says in $namespaces what it runs in, and skips the test where that cannot be had. Both are removed at the end.
# shellcheck shell=bash
((EUID == 0)) || skip "only root may make the namespaces that a systemd of one's own needs"
unified=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
[[ -n $unified ]] || skip "no control groups of version 2 are mounted here"
cgroup=$unified/nvshim-$name-$$
mkdir "$cgroup" 2>/dev/null || skip "no control group can be made in $unified"
folder=$(mktemp -d "/tmp/nvshim-$name-XXXXXX")
# shellcheck disable=SC2317  # called by the trap
clean_up() {
  rm -rf -- "$folder"
  find "$cgroup" -depth -type d -exec rmdir {} + || true
}
trap clean_up EXIT
namespaces=(--pid --mount --cgroup --ipc --uts --net --fork --kill-child --mount-proc)
unshare "${namespaces[@]}" mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null ||
  skip "namespaces cannot be made here, or control groups not mounted in them"
