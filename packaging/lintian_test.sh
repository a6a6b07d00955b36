#!/bin/bash
# Law: lintian finds no error and nothing to warn of in the packages.
# usage: lintian_test.sh PACKAGE...
set -euo pipefail
if ! command -v lintian >/dev/null; then
  echo "SKIPPED: lintian is not installed (testing/setup --packages installs it)"
  exit 0
fi
lintian --no-cfg --fail-on error,warning --display-info --allow-root "$@"
echo "$# packages: nothing to say"
