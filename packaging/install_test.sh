#!/bin/bash
# Installs, uses and removes the packages in a Debian 12 of its own that runs a systemd of its own: what must hold is in
# install_inside.sh. The machine's systemd, packages and users are not touched.
# usage: install_test.sh PACKAGE...
set -euo pipefail
source testing/e2e/runfiles.sh

name=install
source testing/e2e/own_systemd.sh

source testing/e2e/nvidia_clients.sh
status=0
debian=$(packaging/debian_root) || status=$?
((status != 77)) || skip "there is no Debian to install the packages in, and none can be made here"
((status == 0)) || fail "packaging/debian_root ends with status $status"
root=$folder/root
mkdir "$root"
tar --extract --numeric-owner --directory="$root" --file="$debian"

mkdir -p "$root/test/clients"
cp "$@" testing/e2e/victims/caller packaging/install_inside.sh "$root/test"
touch "$root/test/said"
chmod -R a+rX "$root/test"

status=0
(
  echo "$BASHPID" >"$cgroup/cgroup.procs"
  exec unshare "${namespaces[@]}" packaging/install_boot.sh "$root" "$clients"
) </dev/null || status=$?
cat "$root/test/said"
((status == 0)) || fail "status $status of the systemd of its own; what was said is above"
