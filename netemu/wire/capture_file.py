"""Any capture file, told apart by its first four octets."""

from __future__ import annotations

from collections.abc import Iterator

from netemu.errors import CaptureError
from netemu.wire.capture import CapturedFrame, Reader
from netemu.wire.pcap import is_pcap, read_pcap
from netemu.wire.pcapng import is_pcapng, read_pcapng


def is_capture(head: bytes) -> bool:
    """Tell by its first four octets whether a file is a capture."""
    return is_pcap(head) or is_pcapng(head)


def read_capture(read: Reader, file: str) -> Iterator[CapturedFrame]:
    """Return the frames of a pcap or pcapng file, read as they are asked for.

    Raises CaptureError at once when it is neither, and later at the first record that cannot be
    right; the frames before it have been handed out by then.
    """
    first = b""
    while len(first) < 4:
        more = read(4 - len(first))
        if not more:
            break
        first += more
    if is_pcap(first):
        return read_pcap(read, file, first)
    if is_pcapng(first):
        return read_pcapng(read, file, first)
    what = "the file is empty" if not first else f"it begins with {first.hex(' ')}"
    raise CaptureError(f"this is no pcap and no pcapng file ({what})", file=file)
