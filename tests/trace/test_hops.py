"""A trace as a capture: one interface per device, the steps as comments."""

from __future__ import annotations

import io
import shutil
import subprocess

import pytest
from msgspec import structs

from netemu.trace.hops import hops_of, write_hops
from netemu.wire.pcapng import read_pcapng


def written(trace) -> bytes:
    out = io.BytesIO()
    write_hops(trace, out.write)
    return out.getvalue()


def test_every_frame_is_a_hop_with_its_steps(trace):
    received, asked, sent = read_pcapng(io.BytesIO(written(trace)).read, "x")
    assert [frame.interface for frame in (received, asked, sent)] == ["eth0", "veth1", "veth1"]
    assert [frame.entered for frame in (received, asked, sent)] == [True, False, False]
    assert [frame.packet_id for frame in (received, asked, sent)] == [1, 2, 1]
    assert [frame.time_ns for frame in (received, asked, sent)] == [5, 6, 7]
    assert "nat/MARKER  :16  -j MARK --or-mark 0x4000  mark 0x0 -> 0x4000" in received.comments
    assert any(comment.startswith("kernel log") for comment in sent.comments)


def test_what_was_told_before_the_frame_belongs_to_it(passage):
    (asked,) = [hop for hop in hops_of(passage) if hop.stamp.packet_id == 2]
    assert len(asked.told) == 2


def test_a_dropped_packet_carries_the_verdict(trace):
    trace.passage = structs.replace(trace.passage, verdict="DROP")
    assert written(trace) != b""
    assert b"\x07\x00\x09\x00\x01\x02" in written(trace)


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")
def test_tcpdump_reads_it(trace, tmp_path):
    path = tmp_path / "hops.pcapng"
    path.write_bytes(written(trace))
    shown = subprocess.run(
        ["tcpdump", "-nn", "-r", str(path)], check=True, capture_output=True, text=True
    ).stdout
    assert shown.count("\n") == 3
