#!/bin/bash
# Law: the tables in docs/policy.md are what the built-in policy comes to.
set -eu
copy="$TEST_TMPDIR/policy.md"
cp "$2" "$copy"
chmod +w "$copy"
"$1" "$copy" "$3"
diff -u "$2" "$copy" || {
  echo "docs/policy.md is not current. Renew it:"
  echo '  bazel run //broker/policy:page -- "$PWD/docs/policy.md" "$PWD/proto/policy/nvproxy.csv"'
  exit 1
}
