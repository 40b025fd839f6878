#!/usr/bin/env bash
# Installs the Debian packages behind the tests' real parts. `make test` runs it.
#
# Where it is not root on Debian it does nothing: the tests that need a missing part are left out and say so at the
# end. CACHEMGR_REQUIRE_PARTS=1 makes that a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=.ci/debian.sh
. .ci/debian.sh

main() {
  local packages missing
  mapfile -t packages < <(sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' tests/services/packages.txt)
  mapfile -t missing < <(debian_missing "${packages[@]}")
  if [ ${#missing[@]} -eq 0 ]; then
    return
  fi
  if on_debian_as_root; then
    debian_install "${missing[@]}"
  elif [ "${CACHEMGR_REQUIRE_PARTS:-}" = 1 ]; then
    echo "parts: CACHEMGR_REQUIRE_PARTS=1, but only root on Debian can install ${missing[*]}" >&2
    exit 1
  else
    echo "parts: not root on Debian: tests that need a missing part are left out and named at the end"
  fi
}

main
