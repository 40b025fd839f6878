#!/usr/bin/env bash
# Makes .venv with exactly what the lock files name, once per state of them. `make venv` runs it.
#
# PYTHON=/path/to/python chooses the interpreter (3.11 to 3.14); otherwise the first fitting one on the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=.ci/debian.sh
. .ci/debian.sh

readonly stamp=.venv/.made-from

die() { echo "venv: $*" >&2; exit 1; }

# The interpreter behind $1 if its version fits: inside an active environment (ours, even) that is the one it was
# made from, which outlives it.
behind() {
  "$1" -c 'import sys; print(sys._base_executable) if (3, 11) <= sys.version_info[:2] <= (3, 14) else sys.exit(1)' 2>/dev/null
}

find_python() {
  local name
  for name in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do
    if command -v "$name" >/dev/null && behind "$name"; then
      return
    fi
  done
  return 1
}

can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# What the environment was made from: with another lock or Python it is not up to date.
made_from() { "$1" --version && sha256sum requirements-dev.lock; }

main() {
  local python
  if ! python=$(find_python); then
    on_debian_as_root || die "no Python 3.11 to 3.14 was found; install one, or name it: make PYTHON=/path/to/python3 venv"
    debian_install python3 python3-venv
    python=$(find_python) || die "Debian's python3 is not 3.11 to 3.14 here; name one: make PYTHON=/path/to/python3 venv"
  fi
  if [ -e "$stamp" ] && [ "$(made_from "$python")" = "$(cat "$stamp")" ]; then
    return
  fi
  echo "venv: .venv gets the pinned dependencies and $("$python" --version)"
  if ! can_make_venv "$python"; then
    # Debian's python3 comes without ensurepip; python3-venv brings it.
    on_debian_as_root || die "$python cannot make a virtual environment; on Debian: apt-get install python3-venv"
    debian_install python3-venv
    can_make_venv "$python" || die "$python cannot make a virtual environment, not even with python3-venv installed"
  fi
  # An environment of the same Python is brought up to date in place: whoever runs in it just now goes on.
  if [ "$(.venv/bin/python --version 2>/dev/null)" != "$("$python" --version)" ]; then
    rm -rf .venv
    "$python" -m venv .venv
  fi
  .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r requirements-dev.lock
  # Without build isolation: the build uses the pinned setuptools of the lock and fetches nothing.
  .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
  made_from "$python" >"$stamp"
}

main
