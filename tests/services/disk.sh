#!/usr/bin/env bash
# A container disk with a hard size: ext4 in a file, loop-mounted. Needs root, e2fsprogs and loop devices.
#
#   disk.sh serve DIR SIZE   mount it at DIR/mnt, print DISK=DIR/mnt, wait for the end of standard input, take it away
#   disk.sh up DIR SIZE      only mount it and print where
#   disk.sh down DIR         only take it away (may be repeated)
#
# Exit status 3: this machine cannot do it, and standard error says why.
set -uo pipefail

missing() { echo "disk: $*" >&2; exit 3; }
die() { echo "disk: $*" >&2; exit 1; }

up() {
  [ "$(id -u)" = 0 ] || missing "only root may mount"
  command -v mkfs.ext4 >/dev/null || missing "mkfs.ext4 is not installed"
  mkdir -p "$DIR/mnt" || die "cannot make $DIR"
  rm -f "$DIR/disk.img"
  truncate -s "$1" "$DIR/disk.img" || die "cannot make an image of $1"
  # -m 0: no blocks kept for root, so that root meets ENOSPC, too. No lazy work that would write later.
  mkfs.ext4 -q -m 0 -E lazy_itable_init=0,lazy_journal_init=0 "$DIR/disk.img" || die "mkfs.ext4 failed"
  if ! mount -o loop,nodev,nosuid "$DIR/disk.img" "$DIR/mnt"; then
    down
    missing "loop mounts are not allowed here"
  fi
  rmdir "$DIR/mnt/lost+found"
  printf "DISK=%s\nREADY\n" "$DIR/mnt"
}

down() {
  if mountpoint -q "$DIR/mnt"; then
    umount "$DIR/mnt" 2>/dev/null || umount -l "$DIR/mnt"
  fi
  rm -f "$DIR/disk.img"
  rmdir "$DIR/mnt" "$DIR" 2>/dev/null
  return 0
}

[ $# -ge 2 ] || die "usage: disk.sh serve DIR SIZE | up DIR SIZE | down DIR"
VERB=$1
DIR=$(realpath -m "$2")
case $VERB in
  up) up "${3:?SIZE is missing, e.g. 256M}" ;;
  down) down ;;
  serve)
    trap down EXIT
    trap 'exit 1' HUP INT TERM
    up "${3:?SIZE is missing, e.g. 256M}"
    cat >/dev/null # until whoever started us closes its end, or dies
    ;;
  *) die "unknown verb $VERB" ;;
esac
