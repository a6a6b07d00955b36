#!/bin/sh
# Runs the kit on this machine: see --help, README beside this file, and run.py, which does the work.
exec python3 -B "$(dirname -- "$0")/run.py" "$@"
