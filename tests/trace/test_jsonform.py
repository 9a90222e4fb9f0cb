"""The JSON object has the interface's fields."""

from __future__ import annotations

import json

from msgspec import structs

from netemu.trace.jsonform import render_json, trace_object


def test_the_object(trace, passage):
    found = json.loads(render_json(trace))
    assert found["schema"] == "netemu.trace/1"
    assert (found["verdict"], found["reason"], found["rules_visited"]) == ("ACCEPT", "", 6)
    assert found["packet_in"] == passage.packet.hex()
    assert found["packets_out"][-1]["port"] == "veth1"
    assert bytes.fromhex(found["packets_out"][-1]["frame"])[:6].hex() == "020000000088"
    assert found["outcomes"] == [
        {
            "probability": "1/2",
            "verdict": "ACCEPT",
            "dnat": "10.244.1.5:8080",
            "snat": "10.244.1.1:1024",
            "masquerade": True,
            "delivered_to": "port:veth1",
        }
    ]
    assert (found["seed"], found["kernel"], found["reply"]) == (7, "6.18", None)


def test_events_are_flat_with_the_promised_keys(trace):
    found = json.loads(render_json(trace))["events"]
    rule = next(event for event in found if event["kind"] == "rule_visited" and event["failed_on"])
    assert {"kind", "time_ns", "node", "hook", "table", "chain", "rule", "line", "matched"} <= set(
        rule
    )
    rewritten = next(event for event in found if event["kind"] == "header_rewritten")
    assert (rewritten["before"], rewritten["after"]) == ("10.96.0.10:80", "10.244.1.5:8080")
    assert isinstance(found[0]["frame"], str)


def test_an_answer_is_an_object_of_its_own(trace, passage):
    trace.reply = passage
    found = json.loads(render_json(trace))
    assert found["reply"]["verdict"] == "ACCEPT"
    assert len(found["reply"]["events"]) == len(passage.told)


def test_the_class_is_a_key(trace, passage):
    assert trace_object(trace)["class"] is None
    trace.passage = structs.replace(passage, shared_by="any any > any in eth0")
    assert trace_object(trace)["class"] == "any any > any in eth0"
