#!/bin/bash
# Runs a command on what looks to it like a machine with a GPU: /dev has the names of the device nodes, and what programs ask
# of them is answered by a broker with the simulated driver, through the shim, as the driver itself would. Needs root, and
# changes nothing outside of its own mount namespace.
# usage: unshare --mount pretend_machine.sh FOLDER BROKER PRELOAD CLIENTS COMMAND...
#   FOLDER: an empty one of ours; CLIENTS: NVIDIA's libraries
set -euo pipefail
folder=$1 broker=$2 preload=$3 clients=$4
shift 4

mount --make-rprivate /
mkdir "$folder/dev"
mount -t tmpfs none "$folder/dev"
for name in null zero full random urandom tty; do
  touch "$folder/dev/$name"
  mount --bind "/dev/$name" "$folder/dev/$name"
done
mkdir "$folder/dev/shm"
ln -s /proc/self/fd "$folder/dev/fd"
for name in nvidiactl nvidia0 nvidia-uvm; do
  touch "$folder/dev/$name"
  chmod 666 "$folder/dev/$name"
done
mount --rbind "$folder/dev" /dev

# Where the shim looks when no socket is named.
mount -t tmpfs none /run
mkdir /run/gpu-broker
mkfifo "$folder/ready"
"$broker" --driver=sim --sim-gpu=h100 --ready-fd=3 3>"$folder/ready" >"$folder/machine.log" 2>&1 &
machine=$!
trap 'kill "$machine"; wait "$machine" || true' EXIT
read -r _ <"$folder/ready"

env LD_PRELOAD="$preload" LD_LIBRARY_PATH="$clients/lib" PATH="$clients/bin:$PATH" "$@"
