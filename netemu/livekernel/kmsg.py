r"""The kernel log between two moments, as far as it is about packets.

Kernel: kernel/printk/printk.c (devkmsg_read), net/netfilter/nf_log_syslog.c.

Theory of operation: /dev/kmsg gives one record per read, `level,sequence,time,flags;text`, with
control characters as `\xNN`. All namespaces write to the one ring; lines that name a device which
the case does not have come from elsewhere and are left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")

_ABOUT_PACKETS = re.compile(
    r"IN=\S* OUT=|martian|source route option|^ll header: |received packet on \S+ with own address"
    r"|migrated from|neighbor table overflow|ate my IP address|nf_conntrack: table full"
    r"|expectation table full|Forged DCC command|^IPVS: \S+: .* - "
)
_SET_FULL = re.compile(r"Set (\S+) is full, maxelem \d+ reached")
_DEVICE = re.compile(
    r"(?:IN|OUT|PHYSIN|PHYSOUT)=(\S+)|\bon dev (\S+)|, dev (\S+)|received packet on (\S+) with"
    r"|^(\S+): \S+ migrated from"
)

GLOBAL_SETTINGS = {
    "/proc/sys/net/netfilter/nf_log_all_netns": "1",  # LOG and TRACE outside the first namespace
    "/proc/sys/net/core/message_cost": "0",  # net_ratelimit(): martians are never left out
    "/proc/sys/kernel/printk_ratelimit": "0",
}


class KernelLog:
    """Reads what the kernel logs from now on."""

    def __init__(self) -> None:
        """Open the log at its end."""
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._fd, 0, os.SEEK_END)
        self._lines: list[str] = []

    def close(self) -> None:
        """Stop reading."""
        os.close(self._fd)

    def drain(self) -> None:
        """Read what came since the last time, before the ring overwrites it."""
        while True:
            try:
                record = os.read(self._fd, 8192)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # the ring went over unread records; the next read goes on after them
            text = record_text(record)
            if text is not None:
                self._lines.append(text)

    def lines(self, devices: Iterable[str], sets: Iterable[str] = ()) -> list[str]:
        """Return all lines about packets that name only `devices` and `sets`."""
        self.drain()
        return relevant_lines(self._lines, set(devices), set(sets))


def record_text(record: bytes) -> str | None:
    r"""Return the text of a kernel record, None for one that a program wrote.

    >>> record_text(b"4,1,5,-;TRACE: raw:PREROUTING:policy:2 IN=eth0 OUT= \n")
    'TRACE: raw:PREROUTING:policy:2 IN=eth0 OUT= '
    """
    head, _, rest = record.partition(b";")
    if int(head.split(b",", 1)[0]) >> 3:
        return None
    text = rest.split(b"\n", 1)[0].decode("utf-8", "surrogateescape")
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def relevant_lines(
    lines: Iterable[str], devices: set[str], sets: set[str] | frozenset[str] = frozenset()
) -> list[str]:
    """Leave out lines that are not about packets, and devices and IP sets of others."""
    kept: list[str] = []
    foreign = False
    for line in lines:
        full = _SET_FULL.fullmatch(line)
        if full is not None and full[1] in sets:
            kept.append(line)
        if not _ABOUT_PACKETS.search(line):
            continue
        if line.startswith("ll header: "):  # belongs to the martian line before it
            if not foreign:
                kept.append(line)
            continue
        named = {name for found in _DEVICE.findall(line) for name in found if name}
        foreign = not named <= devices
        if not foreign:
            kept.append(line)
    return kept


def open_floodgates() -> dict[str, str]:
    """Let the kernel log from every namespace without limit; return the settings before."""
    before: dict[str, str] = {}
    for name, value in GLOBAL_SETTINGS.items():
        path = Path(name)
        if not path.exists():
            continue
        old = path.read_text().strip()
        if old != value:
            before[name] = old
            path.write_text(value)
    return before


def restore(settings: dict[str, str]) -> None:
    """Put settings back."""
    for name, value in settings.items():
        Path(name).write_text(value)
