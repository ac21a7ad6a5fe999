#!/usr/bin/env bash
# Hosts on one Linux machine, for tests of real clusters. Each has a network address, processes,
# mounts and a host name of its own, so that 'ray stop', which ends every Ray it can see, sees only
# its own; to kill a host is to kill its process 1. The switch between them is a bridge in a network
# namespace of its own: nothing is added to the machine's network. Needs root.
#
#   hosts.sh up NAME...        make these hosts, with addresses from $HOSTS_NET.10 on
#   hosts.sh exec HOST CMD...  run CMD inside HOST
#   hosts.sh ip HOST           print HOST's address
#   hosts.sh sshd HOST...      start sshd there; root may come in with $HOSTS_ROOT/id
#   hosts.sh link HOST down    pull the network cable, silently; 'up' plugs it in again
#   hosts.sh crash HOST        kill it: processes die and sockets are closed
#   hosts.sh boot HOST         start a crashed host again; its disk was kept
#   hosts.sh down              remove everything
#
# HOSTS_ROOT  where their disks are     HOSTS_NET   first three numbers of their addresses
# HOSTS_BINDS folders below /tmp or /root that they must see (read-only)     HOSTS_PATH  their PATH
set -euo pipefail
root=${HOSTS_ROOT:?} net=${HOSTS_NET:-10.79.0} binds=${HOSTS_BINDS:-}
prefix=strsweep-${net//./-}
path=${HOSTS_PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
self=$(readlink -f "$0")

address() { awk -v host="$1" '$2 == host { print $1 }' "$root/addresses"; }
names() { awk '{ print $2 }' "$root/addresses" 2>/dev/null || true; }

boot() { # host: returns when its process 1 is ready
    local disk=$root/$1 leader
    mkdir -p "$disk"/{tmp,root,etc,var,work-root,work-etc,work-var}
    chmod 1777 "$disk/tmp"
    rm -f "$disk/pid"
    setsid nsenter --net="/run/netns/$prefix-$1" unshare --mount --uts --ipc --pid --fork \
        --kill-child --mount-proc bash "$self" first-process "$1" \
        </dev/null >"$disk/boot.log" 2>&1 &
    leader=$!
    for _ in $(seq 100); do
        [ -e "$disk/tmp/.ready" ] && break
        sleep 0.1
    done
    rm "$disk/tmp/.ready" || { cat "$disk/boot.log" >&2; return 1; }
    # nsenter becomes unshare, and unshare's child is the host's process 1
    pgrep -P "$leader" | head -n 1 >"$disk/pid"
}

first_process() { # host: mounts what is its own, then waits to be killed
    local disk=$root/$1 folder number=0
    hostname "$1"
    for folder in root etc var; do
        mount -t overlay overlay "/$folder" -o \
            "lowerdir=/$folder,upperdir=$disk/$folder,workdir=$disk/work-$folder"
    done
    { echo "127.0.0.1 localhost"; cat "$root/addresses"; } >/etc/hosts
    : >/etc/resolv.conf
    # Hides the machine's own; nothing is removed there. What a host got since then survives a boot.
    [ -e "$disk/made" ] || rm -rf /root/.ray /root/.ssh /root/.aws
    touch "$disk/made"
    mkdir -p /run/kept
    mount -t tmpfs tmpfs /run/kept
    for folder in $binds; do # keep them visible while /tmp is covered
        mkdir "/run/kept/$number"
        mount --bind "$folder" "/run/kept/$number"
        number=$((number + 1))
    done
    mount --bind "$disk/tmp" /tmp
    number=0
    for folder in $binds; do
        mkdir -p "$folder"
        mount --bind "/run/kept/$number" "$folder"
        mount -o remount,bind,ro "$folder"
        number=$((number + 1))
    done
    mount -t tmpfs -o size=512m,mode=1777 tmpfs /dev/shm
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/sshd /run/lock
    touch /tmp/.ready
    trap 'exit 0' TERM
    while :; do
        sleep 3600 &
        wait $! || true
    done
}

inside() { # host command...
    local host=$1
    shift
    env -i HOME=/root TERM=dumb PATH="$path" PYTHONDONTWRITEBYTECODE=1 \
        nsenter --target "$(cat "$root/$host/pid")" --mount --uts --ipc --net --pid --wd=/tmp "$@"
}

make_host() { # host number
    ip netns add "$prefix-$1"
    ip -n "$prefix" link add "$1" type veth peer name eth0 netns "$prefix-$1"
    ip -n "$prefix" link set "$1" master bridge up
    ip -n "$prefix-$1" link set lo up
    ip -n "$prefix-$1" addr add "$net.$2/24" dev eth0
    ip -n "$prefix-$1" link set eth0 up
    # Ray finds its own address by the route to the world, even if that leads nowhere.
    ip -n "$prefix-$1" route add default via "$net.1"
}

up() {
    mkdir -p "$root"
    local host number=10
    for host in "$@"; do
        echo "$net.$number $host" >>"$root/addresses"
        number=$((number + 1))
    done
    ip netns add "$prefix"
    ip -n "$prefix" link add bridge type bridge
    ip -n "$prefix" link set bridge up
    number=10
    for host in "$@"; do
        make_host "$host" "$number"
        number=$((number + 1))
        boot "$host"
    done
}

sshd() { # host...
    [ -e "$root/id" ] || ssh-keygen -q -t ed25519 -N '' -f "$root/id"
    local host
    for host in "$@"; do
        inside "$host" bash -c 'umask 077; mkdir -p /root/.ssh; cat >/root/.ssh/authorized_keys; chmod 700 /root' \
            <"$root/id.pub"
        inside "$host" /usr/sbin/sshd -o UsePAM=no -o PasswordAuthentication=no -o "SetEnv=PATH=$path" \
            -E /var/log/sshd.log
    done
}

crash() { kill -KILL "$(cat "$root/$1/pid")"; }

down() {
    local host
    for host in $(names); do
        crash "$host" 2>/dev/null || true
    done
    sleep 0.5
    for host in $(names); do
        ip netns del "$prefix-$host" 2>/dev/null || true
    done
    ip netns del "$prefix" 2>/dev/null || true
}

case "${1:-}" in
first-process) first_process "$2" ;;
up | sshd)
    command=$1
    shift
    "$command" "$@"
    ;;
exec)
    shift
    inside "$@"
    ;;
ip) address "$2" ;;
link) ip -n "$prefix" link set "$2" "$3" ;;
crash) crash "$2" ;;
boot)
    crash "$2" 2>/dev/null || true
    boot "$2"
    ;;
down) down ;;
*)
    sed -n '2,20s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
