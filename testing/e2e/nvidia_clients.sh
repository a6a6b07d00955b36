# Sourced by the end-to-end tests that need NVIDIA's own libraries, after runfiles.sh: says in $clients where they are.
# They are fetched once into the user's cache; without them, and without a mirror to fetch them from, the test is skipped.
# shellcheck shell=bash
version=535.261.03

# HOME is Bazel's here; the libraries belong into the cache of the user.
home=$(getent passwd "$(id -u)" | cut -d: -f6)
clients=${XDG_CACHE_HOME:-$home/.cache}/nvshim/clients/$version
mkdir -p "$(dirname "$clients")" 2>/dev/null || clients=$TEST_TMPDIR/clients/$version
status=0
testing/clients/get "$version" "$clients" || status=$?
if ((status == 77)); then
  skip "NVIDIA's libraries are not in $clients and no Debian mirror can be reached"
elif ((status != 0)); then
  fail "testing/clients/get ends with status $status"
fi
