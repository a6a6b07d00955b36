# Sourced by the end-to-end tests that need NVIDIA's own libraries, after runfiles.sh: says in $clients where they are.
# Those of driver $version, which is set to the usual one when it is empty.
# They are fetched once into the user's cache; without them, and without a mirror to fetch them from, the test is skipped.
# shellcheck shell=bash
version=${version:-535.261.03}

# HOME is Bazel's here; the libraries belong into the cache of the user.
home=$(getent passwd "$(id -u)" | cut -d: -f6)
cache=${XDG_CACHE_HOME:-$home/.cache}/nvshim/clients
mkdir -p "$cache" 2>/dev/null || cache=$TEST_TMPDIR/clients

# fetch VERSION: testing/clients/get, into $cache/VERSION.
fetch() {
  local status=0
  testing/clients/get "$1" "$cache/$1" || status=$?
  if ((status == 77)); then
    skip "NVIDIA's libraries are not in $cache/$1 and no Debian mirror can be reached"
  elif ((status != 0)); then
    fail "testing/clients/get $1 ends with status $status"
  fi
}
fetch "$version"
clients=$cache/$version
