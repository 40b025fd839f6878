#!/usr/bin/env bash
# Functions for installing Debian packages; sourced by the scripts beside it.

on_debian_as_root() { [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null; }

debian_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# debian_missing PACKAGE...: those that are not installed, one a line.
debian_missing() {
  local package
  for package; do
    debian_installed "$package" || echo "$package"
  done
}

# debian_install PACKAGE...: installs those that are missing; asks the mirrors only then. Services that a package
# would start are not wanted: the tests start their own, on free ports.
debian_install() {
  local missing
  mapfile -t missing < <(debian_missing "$@")
  if [ ${#missing[@]} -eq 0 ]; then
    return 0
  fi
  echo "debian: installing ${missing[*]}"
  local apt=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  local log
  log=$(mktemp)
  if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    echo "debian: apt-get could not install ${missing[*]}" >&2
    return 1
  fi
  rm -f "$log"
}
