"""Takes a snapshot of the live node: runs each command, keeps what it printed.

Read-only: every command lists something. Some of them make the kernel load the module they ask
about (nf_tables, ip_set, nf_conntrack_netlink), as they do for anybody who types them.

Namespaces are those that `ip netns` names and, with `all_netns`, those that processes live in
(containers): told apart by the inode that /proc/PID/ns/net names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct, field

from netemu.errors import SnapshotError
from netemu.snapshot.items import ITEMS, Item, mangle

TIMEOUT_S = 30
"""A listing that takes longer hangs."""

MANIFEST = "manifest.tsv"
"""Namespace, exit code, command and first line of stderr, tab-separated, of every command run."""

NAMED = Path("/run/netns")
"""Where iproute2 keeps a file per named namespace (NETNS_RUN_DIR)."""

NOT_FOUND = 127
"""Exit code for a tool that is not installed, as a shell has it."""

EXPIRED = 124
"""Exit code of timeout(1)."""

_CONTAINER = re.compile(r"([0-9a-f]{12})[0-9a-f]{52}")


class Place(Struct, frozen=True, kw_only=True):
    """A namespace of the machine and how to run a command in it."""

    name: str
    prefix: tuple[str, ...] = ()


class Outcome(Struct, frozen=True, kw_only=True):
    """What one command did."""

    place: str
    command: str
    code: int
    error: str


class Taken(Struct, kw_only=True):
    """Files by path below the snapshot's directory, and what each command did."""

    files: dict[str, str] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    def manifest(self) -> str:
        """Return the manifest's text."""
        return "".join(
            f"{outcome.place}\t{outcome.code}\t{outcome.command}\t{outcome.error}\n"
            for outcome in self.outcomes
        )


def take(*, all_netns: bool) -> Taken:
    """Run the commands here and, if asked, in every other namespace.

    Raises SnapshotError where this is no Linux node or its rules may not be read.
    """
    if sys.platform != "linux":
        message = "a snapshot is taken on Linux; --script prints a script to carry there"
        raise SnapshotError(message)
    if os.geteuid() != 0:
        message = "a snapshot is taken by root: others may not list rules and connections"
        raise SnapshotError(message)
    if not shutil.which("ip"):
        message = "ip(8) is not installed; it is in the package iproute2"
        raise SnapshotError(message)
    taken = Taken()
    for place in places() if all_netns else [Place(name="")]:
        for item in ITEMS:
            if item.collect:
                _run(place, item, taken)
    return taken


def _run(place: Place, item: Item, taken: Taken) -> None:
    words = item.command.split()
    if _program(words[0]) is None:
        code, output, error = NOT_FOUND, "", f"{words[0]}: not found"
    else:
        code, output, error = run([*place.prefix, *words], timeout_s=TIMEOUT_S)
    first = error.strip().splitlines()[0] if error.strip() else ""
    taken.outcomes.append(
        Outcome(place=place.name, command=item.command, code=code, error=first.replace("\t", " "))
    )
    # sysctl -a fails when a single parameter cannot be read; the others are right all the same.
    if code == 0 or (item.partial and output):
        folder = f"netns/{place.name}/" if place.name else ""
        taken.files[folder + item.name] = output


def run(command: Sequence[str], *, timeout_s: float) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error of a command."""
    program = _program(command[0])
    if program is None:
        return NOT_FOUND, "", f"{command[0]}: not found"
    try:
        done = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
            env={**os.environ, "LC_ALL": "C", "PATH": _path()},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return EXPIRED, "", f"no answer within {timeout_s:.0f} s"
    except OSError as error:
        return NOT_FOUND, "", str(error)
    return done.returncode, _text(done.stdout), _text(done.stderr)


def _path() -> str:
    sbin = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))
    return f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{sbin}"


def _program(name: str) -> str | None:
    return shutil.which(name, path=_path())


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def places() -> list[Place]:
    """Return the namespace we are in, then the named ones, then those of processes."""
    found = [Place(name="")]
    seen = {_inode(Path("/proc/thread-self/ns/net"))}
    for name, identity in _named():
        if identity not in seen:
            seen.add(identity)
            found.append(Place(name=mangle(name), prefix=("ip", "netns", "exec", name)))
    taken = {place.name for place in found}
    for pid, identity in _of_processes():
        if identity in seen:
            continue
        seen.add(identity)
        name = _process_name(pid)
        name = f"{name}-{pid}" if name in taken else name
        taken.add(name)
        found.append(Place(name=name, prefix=("nsenter", "-t", str(pid), "-n")))
    return found


def _named() -> Iterator[tuple[str, int]]:
    if NAMED.is_dir():
        for entry in sorted(NAMED.iterdir()):
            if identity := _inode(entry):
                yield entry.name, identity


def _of_processes() -> Iterator[tuple[int, int]]:
    for pid in sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        if identity := _inode(Path(f"/proc/{pid}/ns/net")):
            yield pid, identity


def _inode(path: Path) -> int:
    """Return the identity of a namespace, 0 when it is gone or none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _process_name(pid: int) -> str:
    """Return a container's short id as its runtime prints it, else the process's number."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = _CONTAINER.search(text)
    return found[1] if found else f"pid-{pid}"


def save(taken: Taken, directory: Path) -> None:
    """Write the files below `directory`, which must be new or empty."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        message = "exists already; a new or empty directory is needed"
        raise SnapshotError(message, file=str(directory))
    try:
        for name, content in {**taken.files, MANIFEST: taken.manifest()}.items():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")
    except OSError as error:
        message = f"cannot be written ({error.strerror})"
        raise SnapshotError(message, file=str(directory)) from None
