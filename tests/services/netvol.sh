#!/usr/bin/env bash
# A network volume on two hosts: MooseFS, mounted by FUSE in two network namespaces, as a cloud provider does it.
# Needs root, /dev/fuse, iproute2 and moosefs-master, moosefs-chunkserver, moosefs-client.
#
#   netvol.sh serve DIR        start it, print NETVOL_A= and NETVOL_B= (the mounts), wait for the end of standard
#                              input, take everything away
#   netvol.sh up DIR           only start it; `down DIR` takes it away (may be repeated) and keeps no data
#   netvol.sh quota DIR BYTES|none   the hard quota of the volume (EDQUOT)
#   netvol.sh cut DIR a|b      take one host off the network; `heal` brings it back
#   netvol.sh proc DIR NAME start|kill|freeze|thaw   NAME: master, cs1, cs2, mounta, mountb (start: not the mounts)
#   netvol.sh pid DIR NAME
#
# Environment of `up` and `serve`: NETVOL_QUOTA (bytes; none), NETVOL_CS (chunkservers; 2), NETVOL_CS_SIZE (e.g. 600M:
# each on an ext4 of that size, for ENOSPC; else on the directory's file system), NETVOL_STYLE: `bind` (the whole pool
# is mounted and the volume's folder bound from it, so that df shows the pool and chown is refused, as users of
# network volumes report) or `subfolder` (df shows the quota).
#
# Exit status 3: this machine cannot do it, and standard error says why. Every address lies in network namespaces of
# its own, so any number of volumes run side by side. Only processes started here are ended, by pid and start time.
set -uo pipefail

missing() { echo "netvol: $*" >&2; exit 3; }
die() { echo "netvol: $*" >&2; exit 1; }

# -- processes -------------------------------------------------------------------------------------------------------
start_time() {
  local text fields
  text=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${text##*) }"
  [ "${fields[0]}" != Z ] && echo "${fields[19]}"
}
pid_of() {
  local pid began
  [ -e "$DIR/run/$1.pid" ] && read -r pid began <"$DIR/run/$1.pid" || return 1
  [ "$(start_time "$pid")" = "$began" ] && echo "$pid"
}
gone() { ! pid_of "$1" >/dev/null; }
end_process() { # end_process NAME: at once, since the data goes too
  local pid
  if pid=$(pid_of "$1"); then
    kill -KILL "$pid" 2>/dev/null
    wait_for 5 gone "$1"
  fi
  rm -f "$DIR/run/$1.pid"
}
spawn() { # spawn NAME NAMESPACE COMMAND...
  local name=$1 namespace=$2
  shift 2
  # Not its standard input: that is the life line of `serve`.
  setsid nsenter --net="/run/netns/$namespace" "$@" >"$DIR/log/$name.log" 2>&1 </dev/null &
  sleep 0.05
  echo "$! $(start_time $!)" >"$DIR/run/$name.pid"
}
inside() {
  local namespace=$1
  shift
  nsenter --net="/run/netns/$namespace" "$@"
}
wait_for() { # wait_for SECONDS COMMAND...
  local turns=$(($1 * 20))
  shift
  while ! "$@" >/dev/null 2>&1; do
    [ $((turns--)) -gt 0 ] || return 1
    sleep 0.05
  done
}

# -- network ---------------------------------------------------------------------------------------------------------
# MooseFS refuses 127.0.0.0/8: a bridge in the server's namespace, one pair of interfaces to each host.
network_up() {
  local host number=11
  inside "$NS-s" ip link set lo up && inside "$NS-s" ip link add br0 type bridge &&
    inside "$NS-s" ip addr add "$SERVER/24" dev br0 && inside "$NS-s" ip link set br0 up || return 1
  for host in a b; do
    ip netns add "$NS-$host" &&
      ip link add "v$host" netns "$NS-s" type veth peer name eth0 netns "$NS-$host" &&
      inside "$NS-s" ip link set "v$host" master br0 up && inside "$NS-$host" ip link set lo up &&
      inside "$NS-$host" ip addr add "${SERVER%.*}.$number/24" dev eth0 &&
      inside "$NS-$host" ip link set eth0 up || return 1
    number=$((number + 1))
  done
}

# -- servers ---------------------------------------------------------------------------------------------------------
write_config() {
  local number refusal=""
  [ "$STYLE" = bind ] && refusal=,disable=chown
  printf '*  /  rw,alldirs,maproot=0:0%s\n%s  /  rw,alldirs,admin,maproot=0:0\n' "$refusal" "$SERVER" \
    >"$DIR/etc/mfsexports.cfg"
  : >"$DIR/etc/mfstopology.cfg"
  cat >"$DIR/etc/mfsmaster.cfg" <<CFG
WORKING_USER = root
WORKING_GROUP = root
SYSLOG_IDENT = netvol-master
NICE_LEVEL = 0
DISABLE_OOM_KILLER = 0
DATA_PATH = $DIR/master
EXPORTS_FILENAME = $DIR/etc/mfsexports.cfg
TOPOLOGY_FILENAME = $DIR/etc/mfstopology.cfg
MATOML_LISTEN_HOST = $SERVER
MATOCS_LISTEN_HOST = $SERVER
MATOCL_LISTEN_HOST = $SERVER
CFG
  printf 'MFSM NEW' >"$DIR/master/metadata.mfs"
  for number in $(seq "$CS"); do
    mkdir -p "$DIR/cs$number/meta" "$DIR/cs$number/hdd"
    # "~": the chunkserver must not test how fast the directory is first
    echo "~$DIR/cs$number/hdd" >"$DIR/etc/cs$number.hdd"
    cat >"$DIR/etc/cs$number.cfg" <<CFG
WORKING_USER = root
WORKING_GROUP = root
SYSLOG_IDENT = netvol-cs$number
NICE_LEVEL = 0
DISABLE_OOM_KILLER = 0
DATA_PATH = $DIR/cs$number/meta
HDD_CONF_FILENAME = $DIR/etc/cs$number.hdd
HDD_LEAVE_SPACE_DEFAULT = 16MiB
HDD_TEST_SPEED = 0
MASTER_HOST = $SERVER
MASTER_PORT = 9420
CSSERV_LISTEN_HOST = $SERVER
CSSERV_LISTEN_PORT = $((9421 + number))
CFG
  done
}
# -a: after a kill the metadata comes back from the change log
start_master() { spawn master "$NS-s" mfsmaster -f -u -a -c "$DIR/etc/mfsmaster.cfg" start; }
start_chunkserver() { spawn "cs$1" "$NS-s" mfschunkserver -f -u -c "$DIR/etc/cs$1.cfg" start; }
listening() { inside "$NS-s" bash -c "echo >/dev/tcp/$SERVER/9421"; }

# -- mounts ----------------------------------------------------------------------------------------------------------
# Never mountpoint(1) on what may be cut off: a stat there hangs, and not even SIGKILL ends it.
mounted() { grep -q " $1 fuse" /proc/mounts; }
mounted_or_gone() { mounted "$2" || gone "$1"; }
mount_one() { # mount_one NAME NAMESPACE MOUNTPOINT FOLDER
  spawn "$1" "$2" mfsmount -f -H "$SERVER" -P 9421 -S "$4" -o mfsioretries=30 "$3"
  wait_for 20 mounted_or_gone "$1" "$3"
  mounted "$3"
}
mount_host() {
  if [ "$STYLE" = bind ]; then
    mount_one "mount$1" "$NS-$1" "$DIR/mnt/pool-$1" / && mount --bind "$DIR/mnt/pool-$1/vol" "$DIR/mnt/$1"
  else
    mount_one "mount$1" "$NS-$1" "$DIR/mnt/$1" /vol
  fi
}
takes_writes() { head -c 65536 /dev/zero >"$DIR/mnt/a/.ready" && sync "$DIR/mnt/a/.ready" && rm "$DIR/mnt/a/.ready"; }

# -- verbs -----------------------------------------------------------------------------------------------------------
check_machine() {
  local program
  [ "$(id -u)" = 0 ] || missing "only root may mount"
  [ -e /dev/fuse ] || missing "there is no /dev/fuse"
  for program in mfsmaster mfschunkserver mfsmount mfssetgoal ip nsenter; do
    command -v "$program" >/dev/null || missing "$program is not installed"
  done
}
up() {
  check_machine
  mkdir -p "$DIR"/{etc,run,log,master,mnt/root,mnt/a,mnt/b,mnt/pool-a,mnt/pool-b} || die "cannot make $DIR"
  printf 'CS=%s\nSTYLE=%s\n' "$CS" "$STYLE" >"$DIR/run/conf"
  if ! ip netns add "$NS-s" 2>/dev/null; then
    down
    missing "network namespaces are not allowed here"
  fi
  local number
  network_up || fail "no network"
  write_config
  start_master
  wait_for 20 listening || fail "the master does not listen" master
  for number in $(seq "$CS"); do
    [ -z "${NETVOL_CS_SIZE:-}" ] || small_disk "$number" || fail "no loop mount"
    start_chunkserver "$number"
  done
  # The root is mounted once to make the volume's folder, with one copy of each chunk and no trash.
  mount_one mountroot "$NS-s" "$DIR/mnt/root" / || fail "mfsmount failed" mountroot
  mkdir -p "$DIR/mnt/root/vol"
  inside "$NS-s" mfssetgoal 1 "$DIR/mnt/root/vol" >/dev/null
  inside "$NS-s" mfssettrashtime 0 "$DIR/mnt/root/vol" >/dev/null
  [ -z "${NETVOL_QUOTA:-}" ] || quota "$NETVOL_QUOTA"
  mount_host a || fail "mfsmount failed" mounta
  mount_host b || fail "mfsmount failed" mountb
  wait_for 30 takes_writes || fail "the volume takes no writes" cs1
  printf "NETVOL_A=%s\nNETVOL_B=%s\nREADY\n" "$DIR/mnt/a" "$DIR/mnt/b"
}
small_disk() {
  truncate -s "$NETVOL_CS_SIZE" "$DIR/cs$1/disk.img" &&
    mkfs.ext4 -q -m 0 -E lazy_itable_init=0 "$DIR/cs$1/disk.img" &&
    mount -o loop "$DIR/cs$1/disk.img" "$DIR/cs$1/hdd"
}
fail() { # fail TEXT [LOG]
  [ -z "${2:-}" ] || tail -n 5 "$DIR/log/$2.log" >&2
  down
  die "$1"
}
quota() {
  if [ "$1" = none ]; then
    inside "$NS-s" mfsdelquota -A "$DIR/mnt/root/vol" >/dev/null 2>&1
  else
    inside "$NS-s" mfssetquota -L "$1" "$DIR/mnt/root/vol" >/dev/null
  fi
}
down() {
  local name host number
  [ -e "$DIR/run" ] || return 0
  # The clients first: without one, nothing on the mounts can hang.
  for name in mounta mountb mountroot; do end_process "$name"; done
  for name in a b pool-a pool-b root; do
    mounted "$DIR/mnt/$name" && umount -l "$DIR/mnt/$name" 2>/dev/null
  done
  for number in $(seq "$CS"); do
    end_process "cs$number"
    mountpoint -q "$DIR/cs$number/hdd" && umount "$DIR/cs$number/hdd"
  done
  end_process master
  for host in a b s; do ip netns del "$NS-$host" 2>/dev/null; done
  grep -q " $DIR/mnt/" /proc/mounts && die "a mount is still there; leaving $DIR"
  rm -rf --one-file-system "${DIR:?}"/{etc,run,log,master,mnt} "${DIR:?}"/cs*
  rmdir "$DIR" 2>/dev/null
  return 0
}
signal() {
  local pid
  pid=$(pid_of "$1") || die "$1 does not run"
  kill "-$2" "$pid"
}
process() { # process NAME start|kill|freeze|thaw
  case $2/$1 in
    start/master) start_master && wait_for 20 listening ;;
    start/cs*) start_chunkserver "${1#cs}" ;;
    kill/*) end_process "$1" ;;
    freeze/*) signal "$1" STOP ;;
    thaw/*) signal "$1" CONT ;;
    *) die "cannot $2 $1" ;;
  esac
}

[ $# -ge 2 ] || die "usage: netvol.sh serve|up|down|quota|cut|heal|proc|pid DIR [...]"
VERB=$1
DIR=$(realpath -m "$2")
shift 2
NS=nv$(printf '%s' "$DIR" | cksum | cut -d' ' -f1)
SERVER=10.99.0.1
CS=${NETVOL_CS:-2}
STYLE=${NETVOL_STYLE:-bind}
# shellcheck source=/dev/null
[ ! -e "$DIR/run/conf" ] || . "$DIR/run/conf"
case $VERB in
  up) up ;;
  down) down ;;
  serve)
    trap down EXIT
    trap 'exit 1' HUP INT TERM
    up
    cat >/dev/null # until whoever started us closes its end, or dies
    ;;
  quota) quota "$1" ;;
  cut) inside "$NS-$1" ip link set eth0 down ;;
  heal) inside "$NS-$1" ip link set eth0 up ;;
  proc) process "$@" ;;
  pid) pid_of "$1" ;;
  *) die "unknown verb $VERB" ;;
esac
