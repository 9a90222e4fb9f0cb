"""The far ends of a node's ports: one packet socket sends and hears frames on all of them.

Kernel: net/packet/af_packet.c, drivers/net/veth.c.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Mapping

from msgspec import Struct

from netemu.errors import KernelError

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_AUXDATA = 8  # include/uapi/linux/if_packet.h
PACKET_IGNORE_OUTGOING = 23
TP_STATUS_CSUMNOTREADY = 1 << 3
TP_STATUS_VLAN_VALID = 1 << 4
AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata
SO_RCVBUFFORCE = 33
RECEIVE_BUFFER_OCTETS = 16 << 20
STORM_FRAMES = 20_000
"""So many frames at once are a storm."""

LARGEST_FRAME_OCTETS = 1 << 17


class HeardFrame(Struct, frozen=True, kw_only=True):
    """A frame that the node sent."""

    device: str
    """Port of the node."""
    monotonic_ns: int
    frame: bytes


class Tap:
    """Must be made, and used for sending, inside the helper namespace."""

    def __init__(self, far_of_port: Mapping[str, str]) -> None:
        """Listen on the far ends; `far_of_port` maps a port to its far end's name."""
        self._far_of_port = dict(far_of_port)
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL)
        )
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_OCTETS)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._port_of_far = {far: port for port, far in far_of_port.items()}

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, device: str, frame: bytes) -> None:
        """Send a frame so that it enters the node at its port `device`."""
        try:
            self._socket.sendto(frame, (self._far_of_port[device], 0))
        except KeyError:
            known = ", ".join(self._far_of_port)
            raise KernelError(f"{device} is no port of the node; ports are {known}") from None
        except OSError as error:
            if error.errno in {errno.ENOBUFS, errno.EMSGSIZE}:
                raise KernelError(
                    f"a frame of {len(frame)} octets is larger than the MTU of {device} lets in: "
                    "merged by GRO, it cannot be given to the live kernel"
                ) from None
            # A far end that is down is the node's own doing (carrier off): a cut wire.
            if error.errno != errno.ENETDOWN:
                raise

    def heard(self) -> list[HeardFrame]:
        """Return the frames that came since the last time, in order."""
        frames: list[HeardFrame] = []
        while True:
            try:
                frame, ancillary, _, address = self._socket.recvmsg(LARGEST_FRAME_OCTETS, 64)
            except BlockingIOError:
                return frames
            except OSError as error:
                if error.errno == errno.ENETDOWN:  # a far end went down
                    continue
                raise
            port = self._port_of_far.get(address[0])
            if port is not None:
                if len(frames) >= STORM_FRAMES:
                    raise KernelError("the node answers without end: its bridges form a loop")
                frames.append(
                    HeardFrame(
                        device=port,
                        monotonic_ns=time.monotonic_ns(),
                        frame=_whole_frame(frame, ancillary),
                    )
                )


def _whole_frame(frame: bytes, ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """Put the 802.1Q tag back that the kernel keeps beside the frame."""
    for level, kind, data in ancillary:
        if level != SOL_PACKET or kind != PACKET_AUXDATA:
            continue
        status, _, _, _, _, vlan_tci, vlan_ethertype = AUXDATA.unpack_from(data)
        assert not status & TP_STATUS_CSUMNOTREADY, "a port left a checksum to the hardware"
        if status & TP_STATUS_VLAN_VALID:
            tag = struct.pack("!HH", vlan_ethertype or 0x8100, vlan_tci)
            return frame[:12] + tag + frame[12:]
    return frame
