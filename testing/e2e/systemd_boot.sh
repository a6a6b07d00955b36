#!/bin/bash
# The part of systemd_test.sh inside of its namespaces: makes the file system that systemd finds, and becomes systemd.
# usage: systemd_boot.sh FOLDER CLIENTS
set -euo pipefail
folder=$1 clients=$2

mount --make-rprivate /
umount --recursive /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup

# /etc is written by systemd-sysusers; all that is not in /run is shared with the machine.
mkdir /tmp/nvshim-etc.$$
mount -t tmpfs tmpfs /tmp/nvshim-etc.$$
cp -a /etc/. /tmp/nvshim-etc.$$
mount --move /tmp/nvshim-etc.$$ /etc
rmdir /tmp/nvshim-etc.$$

mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/test /run/units
cp -r "$folder/." /run/test
chmod 755 /run/test
mkdir /run/test/clients
mount --bind "$clients" /run/test/clients
for target in sysinit basic sockets shutdown umount final timers paths slices swap local-fs; do
  cp "/lib/systemd/system/$target.target" /run/units
done
cp /run/test/systemd/*.service /run/test/systemd/*.socket /run/units
systemd-sysusers /run/test/systemd/gpu-broker.sysusers
systemd-tmpfiles --create /run/test/systemd/gpu-broker.tmpfiles

mkdir /run/units/gpu-broker.service.d
cat >/run/units/gpu-broker.service.d/test.conf <<'UNIT'
[Service]
ExecStart=
ExecStart=/run/test/bin/gpu-broker --driver=sim --sim-gpu=h100 --drain-ms=600000
ExecReload=
ExecReload=/run/test/bin/gpu-brokerctl reload
# Short enough to wait for, long enough for a busy machine.
WatchdogSec=5s
# A process that is stopped takes no SIGABRT, as a stuck one would.
TimeoutAbortSec=1s
StandardOutput=append:/run/test/log
StandardError=append:/run/test/log
UNIT
mkdir /run/units/gpu-broker-exporter.service.d
cat >/run/units/gpu-broker-exporter.service.d/test.conf <<'UNIT'
[Service]
ExecStart=
ExecStart=/run/test/bin/gpu-broker-exporter
StandardOutput=append:/run/test/log
StandardError=append:/run/test/log
UNIT
cat >/run/units/test.service <<UNIT
[Unit]
Wants=gpu-broker.socket gpu-broker-guest@a.socket
After=gpu-broker.socket gpu-broker-guest@a.socket
SuccessAction=exit-force
SuccessActionExitStatus=0
FailureAction=exit-force
FailureActionExitStatus=1

[Service]
Type=oneshot
TimeoutStartSec=infinity
WorkingDirectory=/run/test
Environment=NVSHIM_BROKER=/run/test/bin/gpu-broker NVSHIM_BROKERCTL=/run/test/bin/gpu-brokerctl
Environment=NVSHIM_SOCKET=/run/gpu-broker/gpu-broker.sock
Environment=LD_LIBRARY_PATH=/run/test/clients/lib LD_PRELOAD=/run/test/bin/libnvshim.so
ExecStart=/usr/bin/python3 -B /run/test/systemd_inside.py
StandardOutput=append:$folder/said
StandardError=append:$folder/said
UNIT
export SYSTEMD_UNIT_PATH=/run/units container=nvshim-test
exec /lib/systemd/systemd --system --unit=test.service --log-target=null --show-status=no
