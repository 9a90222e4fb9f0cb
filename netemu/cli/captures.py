"""Capture files of the command line: opened, given their devices, merged by time.

Where a frame was captured: `--in DEV=FILE` says it; else the ifindex of an SLL2 header, else the
interface name of a pcapng. A capture of `any` or of a bridge holds one packet several times: what
was seen at a port counts, copies seen at inner devices are left out and counted.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from itertools import chain, islice
from typing import BinaryIO, cast

import click
from msgspec import Struct

from netemu.errors import CaptureError
from netemu.link.bridge import Bridge
from netemu.sim.node import Node
from netemu.sim.replay import CapturedAt
from netemu.sim.wiring import device_key
from netemu.skb import Device
from netemu.wire.capture import ETH_P_IP, CapturedFrame, LinkType, ethernet_of, merge_frames
from netemu.wire.capture_file import read_capture
from netemu.wire.composed import DEFAULT_SRC_MAC, ETH_P_ARP

ARP_LEN = 28
IP_LEN = 20
GZIP_MAGIC = b"\x1f\x8b"


class CaptureInput(Struct, frozen=True, kw_only=True):
    """One `--in`."""

    path: str
    device: str = ""
    """Empty: the capture says it."""


def parse_input(text: str) -> CaptureInput:
    """Read `DEV=FILE` or `FILE`."""
    device, equals, path = text.partition("=")
    if not equals:
        return CaptureInput(path=text)
    if not device or not path:
        raise click.BadParameter(f"{text!r} is not DEV=FILE", param_hint="--in")
    return CaptureInput(path=path, device=device)


@contextmanager
def open_capture(path: str) -> Iterator[BinaryIO]:
    """Open a capture, compressed or not; `-` is standard input. Pipes are read once."""
    try:
        stream = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115 - below
    except OSError as problem:
        raise CaptureError(f"cannot be read ({problem.strerror})", file=path) from None
    with stream:
        head = stream.peek(2)[:2] if isinstance(stream, BufferedReader) else b""
        if head != GZIP_MAGIC:
            yield stream
            return
        with gzip.GzipFile(fileobj=stream) as unpacked:
            yield cast("BinaryIO", unpacked)


def frames_of(path: str) -> Iterator[CapturedFrame]:
    """Yield the frames of a file."""
    with open_capture(path) as stream:
        read = getattr(stream, "read1", stream.read)
        try:
            yield from read_capture(read, path)
        except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
            raise CaptureError(f"the compressed file is damaged: {problem}", file=path) from None
        except OSError as problem:
            raise CaptureError(f"cannot be read ({problem.strerror})", file=path) from None


class Captures:
    """The frames of all inputs in order of time, with their devices."""

    def __init__(self, inputs: list[CaptureInput], hint: str = "--in DEV=FILE") -> None:
        """Open the files and look at their first frames; `hint` is the option naming a device."""
        self.inputs = inputs
        self.hint = hint
        self.left_out: dict[str, int] = {}
        """What was left out, and how often."""
        self._streams: list[tuple[CaptureInput, Iterator[CapturedFrame]]] = []
        times: list[int] = []
        for source in inputs:
            frames = frames_of(source.path)
            first = list(islice(frames, 1))
            times += [frame.time_ns for frame in first]
            self._streams.append((source, chain(first, frames)))
        self.start_ns = min(times, default=0)
        """Time of the earliest frame, 0 without frames."""

    def items(self, node: Node) -> Iterator[CapturedAt]:
        """Yield the frames that take part, each with its device of `node`."""
        placing = _Placing(node, self)
        for source, frame in merge_frames(self._streams):
            item = placing.placed(source, frame)
            if item is not None:
                yield item

    def leave_out(self, text: str) -> None:
        """Count something that takes no part."""
        self.left_out[text] = self.left_out.get(text, 0) + 1

    def notes(self) -> list[str]:
        """Return what was left out, a sentence each with its count."""
        return [f"{count} {text}" for text, count in self.left_out.items()]


class _Placing:
    """Finds the device of each frame, and the MAC addresses that a cooked capture lost."""

    def __init__(self, node: Node, captures: Captures) -> None:
        self.node = node
        self.captures = captures
        self.behind: dict[tuple[str, bytes], bytes] = {}
        """(bridge, address) -> MAC, as frames from its ports showed them."""

    def placed(self, source: CaptureInput, frame: CapturedFrame) -> CapturedAt | None:
        """Return a frame with its device, or None when another copy of it takes part."""
        name = source.device or self.device_of(source, frame)
        _, device = self.node.find_device(name)
        if name not in self.node.ports and not source.device:
            self.captures.leave_out(f"copies seen at {name}, which is no port, were left out")
            return None
        entered = frame.entered
        if isinstance(device, Bridge) and entered is not False:
            port = self._bridge_port(name, device, frame)
            if port is None:
                return None
            name = port
        return CapturedAt(
            time_ns=frame.time_ns,
            device=name,
            frame=ethernet_of(
                frame,
                dst_mac=device.mac,
                src_mac=DEFAULT_SRC_MAC,
                other_mac=self.lost_mac(device, frame),
            ),
            file=source.path,
            index=frame.number,
            direction={True: "in", False: "out", None: ""}[entered],
            truncated=frame.truncated,
            has_macs=frame.link_type == LinkType.ETHERNET,
        )

    def lost_mac(self, device: Device, frame: CapturedFrame) -> bytes:
        """Return for whom a cooked frame to "another host" was, at a bridge's port.

        The port's own address differs from the bridge's, so a frame to the bridge counts as one to
        another host, too. Who is behind the bridge was seen in earlier frames.
        """
        bridge = device.master
        if frame.link_type == LinkType.ETHERNET or not isinstance(bridge, Bridge):
            return b""
        body = frame.network
        if frame.protocol == ETH_P_ARP and len(body) >= ARP_LEN:
            self.behind[bridge.name, body[14:18]] = body[8:14]
            return body[18:24] if any(body[18:24]) else bridge.mac
        if frame.protocol != ETH_P_IP or len(body) < IP_LEN:
            return bridge.mac
        if frame.source_mac and frame.entered:
            self.behind.setdefault((bridge.name, body[12:16]), frame.source_mac)
        return self.behind.get((bridge.name, body[16:20]), bridge.mac)

    def device_of(self, source: CaptureInput, frame: CapturedFrame) -> str:
        """Return the device that the capture names.

        Raises CaptureError when it names none.
        """
        if frame.ifindex:
            device = self.node.main.net.device_by_index(frame.ifindex)
            if device is not None:
                return device.name
        names = self.node.device_names()
        if frame.interface in names:
            return frame.interface
        ports = ", ".join(self.node.ports) or "none"
        told = f" (it says {frame.interface!r})" if frame.interface else ""
        raise CaptureError(
            f"packet {frame.number} does not say at which device of the node it was captured"
            f"{told}; give {self.captures.hint} with DEV one of {ports}",
            file=source.path,
        )

    def _bridge_port(self, name: str, bridge: Bridge, frame: CapturedFrame) -> str | None:
        """Return the port by which a frame captured at a bridge came, or the bridge itself."""
        mac = frame.source_mac
        if mac == bridge.mac:
            return name
        entry = bridge.fdb.find(mac, 0) if mac else None
        if entry is not None and entry.port is not None:
            return self._key_of(name, entry.port.device)
        self.captures.leave_out(
            f"frames at the bridge {name} whose port cannot be told were left out; "
            "give the captures of its ports with --in"
        )
        return None

    def _key_of(self, name: str, device: Device) -> str:
        space, _ = self.node.find_device(name)
        return device_key(space.spec.name, device.name)
