"""What a passage knows by itself."""

from __future__ import annotations

from netemu.trace.model import Recorder, place


def test_what_left_the_node_is_told_by_the_events(passage):
    assert [(out.port, out.packet_id) for out in passage.packets_out()] == [
        ("veth1", 2),
        ("veth1", 1),
    ]
    assert passage.log_lines() == ["TRACE: nat:SEP:rule:1 IN=eth0"]


def test_a_trace_has_one_or_two_passages(trace, passage):
    assert trace.passages() == [passage]
    trace.reply = passage
    assert trace.passages() == [passage, passage]


def test_a_recorder_keeps_order_and_gives_away_what_it_kept(passage):
    recorder = Recorder()
    for stamp, event in passage.told:
        recorder(stamp, event)
    assert recorder.take() == passage.told
    assert recorder.take() == []


def test_devices_of_other_namespaces_carry_their_name():
    assert (place("", "eth0"), place("pod", "eth0")) == ("eth0", "pod/eth0")
