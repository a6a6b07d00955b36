#!/bin/bash
# The part of install_test.sh inside of its namespaces: makes the Debian at ROOT the root, and becomes its systemd, which runs
# /test/install_inside.sh once it is up.
# usage: install_boot.sh ROOT CLIENTS
set -euo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
root=$1 clients=$2

mount --make-rprivate /
mount --bind "$root" "$root"
mount --bind "$clients" "$root/test/clients"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root"/dev/{pts,shm}
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"

cat >"$root/etc/systemd/system/test.service" <<'UNIT'
[Unit]
Wants=multi-user.target
After=multi-user.target
SuccessAction=exit-force
SuccessActionExitStatus=0
FailureAction=exit-force
FailureActionExitStatus=1

[Service]
Type=oneshot
TimeoutStartSec=infinity
WorkingDirectory=/test
ExecStart=/bin/bash /test/install_inside.sh
StandardOutput=append:/test/said
StandardError=append:/test/said
UNIT
cd "$root"
mkdir -p old
pivot_root . old
umount --lazy /old
rmdir /old
export container=nvshim-test
exec /lib/systemd/systemd --system --unit=test.service --log-target=null --show-status=no
