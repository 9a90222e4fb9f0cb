"""The pcapng writer: read back by our reader, and by tcpdump where it is installed."""

from __future__ import annotations

import io
import shutil
import subprocess

import pytest

from netemu.wire.capture import Direction
from netemu.wire.pcapng import read_pcapng
from netemu.wire.pcapng_writer import PcapngWriter, TcVerdict

PACKET = bytes.fromhex("450000140001000040007a8e0a0000010a000002")
FRAME = bytes.fromhex("0200000000010200000000020800") + PACKET


def written() -> bytes:
    out = io.BytesIO()
    writer = PcapngWriter(out.write, comment="a trace")
    eth0 = writer.add_interface("eth0", description="uplink", mac=bytes(6))
    cni0 = writer.add_interface("node/cni0")
    writer.name_addresses({bytes([10, 0, 0, 2]): "web.default.svc"})
    writer.write(eth0, 1_700_000_000_000_000_001, FRAME, direction=Direction.INBOUND, packet_id=7)
    writer.write(
        cni0,
        1_700_000_000_000_000_002,
        FRAME,
        direction=Direction.OUTBOUND,
        comments=["nat :24", "DNAT → pod"],
        packet_id=7,
        verdict=TcVerdict.OK,
        original_length=1500,
    )
    return out.getvalue()


def test_what_we_write_we_read():
    first, second = read_pcapng(io.BytesIO(written()).read, "x")
    assert (first.interface, first.time_ns, first.entered) == (
        "eth0",
        1_700_000_000_000_000_001,
        True,
    )
    assert (second.interface, second.entered, second.packet_id) == ("node/cni0", False, 7)
    assert second.comments == ("nat :24", "DNAT → pod")
    assert (second.data, second.original_length) == (FRAME, 1500)


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")
def test_tcpdump_reads_it(tmp_path):
    path = tmp_path / "out.pcapng"
    path.write_bytes(written())
    shown = subprocess.run(
        ["tcpdump", "-nn", "-tt", "--nano", "-r", str(path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert [line.split(" IP ")[0] for line in shown] == [
        "1700000000.000000001",
        "1700000000.000000002",
    ]
