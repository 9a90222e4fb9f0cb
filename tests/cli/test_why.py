"""`netemu why`: the report and JSON."""

from __future__ import annotations

import json

ADDR = ("--addr", "cni0=10.244.1.1/24")


def test_a_dropped_packet(netemu, rules):
    done = netemu("why", rules, "udp 192.0.2.9:1 > 10.244.1.9:53", "--in", "eth0", *ADDR)
    assert done.code == 0
    assert done.out.startswith("DROP by filter/FORWARD:10  policy DROP\nnearest rule")
    assert "\n  protocol tcp\n      ACCEPT (filter/FORWARD:12): tcp " in done.out


def test_json(netemu, rules):
    packet = "udp 192.0.2.9:1 > 10.244.1.9:53"
    done = netemu("why", rules, packet, "--in", "eth0", "--json", *ADDR)
    found = json.loads(done.out)
    assert (found["verdict"], found["decided_by"]) == ("DROP", "filter/FORWARD:10  policy DROP")
    assert {"protocol": "tcp"} in [change["fields"] for change in found["packet_changes"]]
