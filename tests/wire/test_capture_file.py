"""Any capture is recognised; the public captures are read as tcpdump counts them."""

from __future__ import annotations

import io
import shutil
import subprocess

import pytest

from netemu.errors import CaptureError
from netemu.wire.capture_file import is_capture, read_capture
from netemu.wire.pcap import PcapWriter
from netemu.wire.pcapng_writer import PcapngWriter

OTHER_LINK_TYPE = {"PcapPlusPlus__microsecs_big_endian.pcap"}
MIXED_INTERFACES = {
    "PcapPlusPlus__dns_over_tcp.pcapng": 4,
    "PcapPlusPlus__ipv4-malformed.pcap": 2,
    "gopacket__be_test201.pcapng": 4,
    "gopacket__le_test202.pcapng": 8,
}
"""libpcap stops where interfaces differ; counts by capinfos 4.0.17."""


@pytest.mark.parametrize("writer", [PcapWriter, PcapngWriter])
def test_the_kind_is_told_by_its_content(writer):
    out = io.BytesIO()
    writer(out.write)
    assert is_capture(out.getvalue()[:4])
    assert list(read_capture(io.BytesIO(out.getvalue()).read, "x")) == []


@pytest.mark.parametrize(
    "data,message",
    [
        (b"", "x: this is no pcap and no pcapng file (the file is empty)"),
        (b"*filter", "x: this is no pcap and no pcapng file (it begins with 2a 66 69 6c)"),
    ],
)
def test_anything_else_is_refused(data, message):
    with pytest.raises(CaptureError) as caught:
        read_capture(io.BytesIO(data).read, "x")
    assert str(caught.value) == message


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")
def test_public_captures_are_read_whole(corpus_pcaps):
    for path in sorted(corpus_pcaps.iterdir()):
        if path.name in OTHER_LINK_TYPE:
            continue
        with path.open("rb") as stream:
            count = sum(1 for _ in read_capture(stream.read, path.name))
        if path.name in MIXED_INTERFACES:
            assert (path.name, count) == (path.name, MIXED_INTERFACES[path.name])
            continue
        counted = subprocess.run(
            ["tcpdump", "-r", str(path), "--count"], check=True, capture_output=True, text=True
        ).stdout
        assert (path.name, count) == (path.name, int(counted.split()[0]))
