"""The collector as a POSIX sh script, for nodes where netemu is not installed.

It runs the commands of `items` and names the files as `take` does; a test compares the two. Only
what POSIX and busybox have is used: no arrays, no `local`, `timeout` if it is there.
"""

from __future__ import annotations

from netemu.snapshot.items import ITEMS
from netemu.snapshot.take import MANIFEST, TIMEOUT_S

_HEAD = """\
#!/bin/sh
# Takes a snapshot of this node for netemu: read-only, every command only lists something.
# Usage: sh snapshot.sh [--all-netns] [-o DIRECTORY]      (as root)
# Then:  netemu snapshot --check DIRECTORY
set -u
LC_ALL=C
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH

all_netns=no
directory=

usage() {
    echo "usage: sh $0 [--all-netns] [-o DIRECTORY]" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
    --all-netns) all_netns=yes ;;
    -o | --output)
        [ $# -gt 1 ] || usage
        directory=$2
        shift
        ;;
    *) usage ;;
    esac
    shift
done

if [ "$(uname -s)" != Linux ]; then
    echo "a snapshot is taken on Linux" >&2
    exit 3
fi
if [ "$(id -u)" != 0 ]; then
    echo "a snapshot is taken by root: others may not list rules and connections" >&2
    exit 3
fi
if ! command -v ip >/dev/null 2>&1; then
    echo "ip(8) is not installed; it is in the package iproute2" >&2
    exit 3
fi
if [ -z "$directory" ]; then
    directory=$(uname -n).snap
fi
if [ -e "$directory" ] && [ -n "$(ls -A "$directory" 2>/dev/null || echo file)" ]; then
    echo "$directory: exists already; a new or empty directory is needed" >&2
    exit 3
fi
mkdir -p "$directory" || exit 3
umask 077
"""

_FUNCTIONS = """
# The namespace at hand: its name, and the command that enters it.
place=
enter=

limited() {
    if command -v timeout >/dev/null 2>&1; then
        timeout %(timeout_s)s "$@"
    else
        "$@"
    fi
}

# take KEEP FILE COMMAND...: runs the command and keeps its output under FILE.
# KEEP is "whole", or "partial" for output that is worth keeping though the command failed.
take() {
    keep=$1
    file=$2
    shift 2
    command_line=$*
    if [ -n "$place" ]; then
        folder=$directory/netns/$place
    else
        folder=$directory
    fi
    mkdir -p "$folder" || exit 3
    code=0
    message=
    if ! command -v "$1" >/dev/null 2>&1; then
        code=127
        message="$1: not found"
    else
        # shellcheck disable=SC2086 # the entering command is several words, none with spaces
        limited $enter "$@" </dev/null >"$folder/$file" 2>"$directory/.errors" || code=$?
        message=$(sed -e 1q "$directory/.errors" | tr '\\t' ' ')
    fi
    if [ "$code" != 0 ] && ! { [ "$keep" = partial ] && [ -s "$folder/$file" ]; }; then
        rm -f "$folder/$file"
    fi
    printf '%%s\\t%%s\\t%%s\\t%%s\\n' "$place" "$code" "$command_line" "$message" \\
        >>"$directory/%(manifest)s"
}

take_all() {
%(commands)s
}

identity() {
    stat -L -c %%i "$1" 2>/dev/null
}

# The short id of a container, as its runtime prints it.
container() {
    sed -n 's/.*\\([0-9a-f]\\{12\\}\\)[0-9a-f]\\{52\\}.*/\\1/p' "$1" 2>/dev/null | sed -e 1q
}

take_all

if [ "$all_netns" = yes ]; then
    seen=" $(identity /proc/self/ns/net) "
    names=" "
    for path in /run/netns/*; do
        inode=$(identity "$path") || continue
        case $seen in *" $inode "*) continue ;; esac
        seen="$seen$inode "
        name=${path##*/}
        place=$(printf '%%s' "$name" | sed 's/[^A-Za-z0-9_.-][^A-Za-z0-9_.-]*/_/g')
        names="$names$place "
        enter="ip netns exec $name"
        take_all
    done
    for pid in $(for path in /proc/[0-9]*; do echo "${path#/proc/}"; done | sort -n); do
        inode=$(identity "/proc/$pid/ns/net") || continue
        case $seen in *" $inode "*) continue ;; esac
        seen="$seen$inode "
        place=$(container "/proc/$pid/cgroup")
        [ -n "$place" ] || place=pid-$pid
        case $names in *" $place "*) place=$place-$pid ;; esac
        names="$names$place "
        enter="nsenter -t $pid -n"
        take_all
    done
fi

rm -f "$directory/.errors"
echo "$directory: taken; pack it with: tar -czf $directory.tar.gz $directory" >&2
"""


def script() -> str:
    """Return the script's text."""
    commands = "\n".join(
        f"    take {'partial' if item.partial else 'whole'} {item.name} {item.command}"
        for item in ITEMS
        if item.collect
    )
    return _HEAD + _FUNCTIONS % {
        "timeout_s": TIMEOUT_S,
        "manifest": MANIFEST,
        "commands": commands,
    }
