#!/bin/bash
# Laws: the settings file of the package sets nothing, and with every line of it uncommented, but those without a value, it is
# a file that the broker takes.
# usage: settings_test.sh GPU_BROKER SETTINGS
set -euo pipefail
if grep -n '^[^#]' "$2"; then
  echo "FAILED: the lines above set something"
  exit 1
fi
sed -n '/= \(""\|\[\]\)$/d; s/^#\([a-z0-9-]* = \)/\1/p' "$2" >"$TEST_TMPDIR/config.toml"
(($(wc -l <"$TEST_TMPDIR/config.toml") > 10))
"$1" --config "$TEST_TMPDIR/config.toml" --check-config
