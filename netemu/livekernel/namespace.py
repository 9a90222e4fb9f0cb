"""Network namespaces that live as long as a file descriptor, and what is done inside them.

Kernel: kernel/nsproxy.c (setns), net/core/net_namespace.c, net/ethtool/ioctl.c.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Self

from netemu.errors import KernelError

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
SIOCETHTOOL = 0x8946  # include/uapi/linux/sockios.h
ETHTOOL_GLINK = 0x0A  # include/uapi/linux/ethtool.h
ETHTOOL_STXCSUM = 0x17
ETHTOOL_SGSO = 0x24
ETHTOOL_STSO = 0x1F

TOOLS = {
    "ip": "iproute2",
    "bridge": "iproute2",
    "iptables-legacy-restore": "iptables",
    "iptables-legacy-save": "iptables",
    "conntrack": "conntrack",
    "ipset": "ipset",
}
"""Programs that a case needs, and the Debian package of each."""

THREAD_NETNS = "/proc/thread-self/ns/net"


@cache
def missing_requirements() -> str:
    """Return why this machine cannot run a case, or "" when it can."""
    if sys.platform != "linux":
        return f"needs a Linux kernel; this is {sys.platform}"
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    lacking = [tool for tool in TOOLS if shutil.which(tool, path=_search_path()) is None]
    if lacking:
        packages = sorted({TOOLS[tool] for tool in lacking})
        return f"needs {', '.join(lacking)}; on Debian: apt-get install {' '.join(packages)}"
    try:
        with Namespace():
            pass
    except KernelError as error:
        return error.message
    return ""


def require_kernel() -> None:
    """Raise KernelError when this machine cannot run a case."""
    reason = missing_requirements()
    if reason:
        raise KernelError(f"the live kernel cannot be asked: {reason}")


def _search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"


class Namespace:
    """A fresh network namespace; `close` (or leaving the with block) lets the kernel remove it."""

    def __init__(self) -> None:
        """Make it with unshare(2), then return to where the thread was."""
        home = os.open(THREAD_NETNS, os.O_RDONLY)
        try:
            if _libc().unshare(CLONE_NEWNET) != 0:
                raise KernelError(
                    "the live kernel cannot be asked: unshare(CLONE_NEWNET): "
                    + os.strerror(ctypes.get_errno())
                )
            self.fd = os.open(THREAD_NETNS, os.O_RDONLY)
            _setns(home)
        finally:
            os.close(home)

    @property
    def path(self) -> str:
        """A path by which other programs find the namespace."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self) -> None:
        """Let go of the namespace; the kernel removes it with all that is in it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let the calling thread, and programs that it starts, live in the namespace."""
        home = os.open(THREAD_NETNS, os.O_RDONLY)
        try:
            _setns(self.fd)
            yield
        finally:
            _setns(home)
            os.close(home)

    def run(self, command: Sequence[str], stdin: str = "") -> str:
        """Run a program in the namespace and return what it printed."""
        with self.entered():
            return run_tool(command, stdin)


def run_tool(command: Sequence[str], stdin: str = "") -> str:
    """Run a program in the thread's namespace and return its standard output."""
    done = subprocess.run(
        list(command),
        input=stdin.encode("utf-8", "surrogateescape"),
        capture_output=True,
        check=False,
        env={"PATH": _search_path(), "LC_ALL": "C"},
    )
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise KernelError(f"{' '.join(command)}: {said or f'exit status {done.returncode}'}")
    return done.stdout.decode("utf-8", "surrogateescape")


def write_sysctl(key: str, value: str) -> bool:
    """Set a parameter in the thread's namespace unless it has the value; False if refused."""
    path = Path("/proc/sys") / sysctl_path(key)
    try:
        # Tabs: sysctl(8) prints the fields of a vector separated by them, as the file does.
        if path.read_text().strip() != value.strip():
            path.write_text(value)
    except OSError:
        return False
    return True


def sysctl_path(key: str) -> str:
    """Return the path of a dotted name below /proc/sys, as sysctl(8) does.

    >>> sysctl_path("net.ipv4.conf.eth0/1.rp_filter")
    'net/ipv4/conf/eth0.1/rp_filter'
    """
    return key.translate(str.maketrans("./", "/."))


def sync_link(device: str) -> None:
    """Wait until the kernel has acted on a carrier change (linkwatch_sync_dev)."""
    _ethtool(device, ETHTOOL_GLINK, 0)


def disable_offloads(device: str) -> None:
    """Make the kernel finish checksums and segments before a frame leaves through `device`."""
    for command in (ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO):
        _ethtool(device, command, 0)


def _ethtool(device: str, command: int, value: int) -> None:
    buffer = array.array("B", struct.pack("=II", command, value))
    request = struct.pack("16sP", device.encode(), buffer.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, SIOCETHTOOL, request)
        except OSError as error:
            raise KernelError(f"ethtool {device}: {error.strerror}") from error


def _setns(fd: int) -> None:
    if _libc().setns(fd, CLONE_NEWNET) != 0:
        raise KernelError(f"setns: {os.strerror(ctypes.get_errno())}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
