"""Hand-made rules through netemu and the live kernel: TRACE and LOG lines, counters, frames.

A router with 10.1.0.1/24 on eth0 and 10.2.0.1/24 on eth1, and hosts .2 and .3 behind each. Steps:
`eth0 LINE` is a one-line packet that enters there, `local LINE` one that the router sends,
`wait S` lets seconds pass.
"""

from __future__ import annotations

import pytest

from netemu.livekernel.case import NSEC_PER_SEC, Case, InputFrame, LocalPacket
from netemu.livekernel.verify import verify_case
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NodeSpec,
    TextFile,
)
from netemu.wire.address import parse_address
from netemu.wire.ethernet import ethernet_header
from netemu.wire.packet_text import parse_packet

MACS = {"eth0": bytes.fromhex("020000000101"), "eth1": bytes.fromhex("020000000201")}
GAP_NS = 1_000_000

CT = "-A PREROUTING -m conntrack --ctstate NEW -j ACCEPT"
TRACE = "*raw\n-A PREROUTING -j TRACE\n-A OUTPUT -j TRACE\nCOMMIT\n"
SYN = "eth0 tcp 10.1.0.2:1000 > 10.2.0.2:80 S"
SYNACK = "eth1 tcp 10.2.0.2:80 > 10.1.0.2:1000 SA ack=2"
UDP = "eth0 udp 10.1.0.2:1000 > 10.2.0.2:53"
UDP_BACK = "eth1 udp 10.2.0.2:53 > 10.1.0.2:1000"
PING = "eth0 icmp 10.1.0.2 > 10.2.0.2 echo id=7 seq=1"


def table(name: str, *lines: str) -> str:
    return "\n".join([f"*{name}", *lines, "COMMIT", ""])


def node(rules: str, sysctls: dict[str, str] | None = None) -> NodeSpec:
    links = [LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536, noarp=True)]
    addresses = [
        AddressSpec(device="lo", address=parse_address("127.0.0.1"), prefix_len=8, scope="host")
    ]
    neighbours = []
    for number, (name, mac) in enumerate(MACS.items(), 1):
        links.append(LinkSpec(name=name, ifindex=1 + number, mac=mac))
        addresses.append(
            AddressSpec(
                device=name,
                address=parse_address(f"10.{number}.0.1"),
                prefix_len=24,
                broadcast=parse_address(f"10.{number}.0.255"),
            )
        )
        neighbours += [
            NeighbourSpec(
                device=name,
                address=parse_address(f"10.{number}.0.{host}"),
                mac=bytes([2, 0, 0, 0, number, host]),
                state="PERMANENT",
            )
            for host in (2, 3)
        ]
    return NodeSpec(
        main=NamespaceSpec(
            links=links,
            addresses=addresses,
            neighbours=neighbours,
            sysctls={"net.ipv4.ip_forward": "1"} | (sysctls or {}),
            rules4=TextFile(name="rules", text=rules),
        )
    )


def inputs(steps: tuple[str, ...]) -> list[InputFrame | LocalPacket]:
    found: list[InputFrame | LocalPacket] = []
    now_ns = 0
    for step in steps:
        where, _, line = step.partition(" ")
        if where == "wait":
            now_ns += int(float(line) * NSEC_PER_SEC)
            continue
        composed = parse_packet(line)
        if where == "local":
            found.append(
                LocalPacket(
                    namespace="", time_ns=now_ns, packet=composed.network, mark=composed.mark or 0
                )
            )
        else:
            mac = MACS[where]
            header = ethernet_header(mac, mac[:5] + composed.network[15:16], 0x0800)
            found.append(InputFrame(device=where, time_ns=now_ns, frame=header + composed.network))
        now_ns += GAP_NS
    return found


# name: (rules, steps)
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "return-goto-and-ends-of-chains": (
        TRACE
        + table(
            "filter",
            ":A - [0:0]",
            ":B - [0:0]",
            ":C - [0:0]",
            ":EMPTY - [0:0]",
            "-A FORWARD -j A",
            "-A FORWARD -j EMPTY",
            "-A FORWARD -p udp -g C",
            "-A FORWARD -p icmp -j RETURN",
            "-A FORWARD",
            "-A FORWARD -j DROP",
            "-A A -g B",
            "-A A -j DROP",
            "-A B -p tcp",
            "-A B -p icmp -j RETURN",
            "-A B -j C",
            "-A C -p tcp -j RETURN",
            "-A C -p icmp -g EMPTY",
        ),
        (SYN, UDP, PING),
    ),
    "unconditional-rules-are-traced-as-policies": (
        TRACE
        + table(
            "mangle",
            ":X - [0:0]",
            "-A FORWARD -j X",
            "-A X",
            "-A X -j RETURN",
            "-A POSTROUTING -j ACCEPT",
        )
        + table("filter", ":Y - [0:0]", "-A FORWARD -j Y", "-A Y -j ACCEPT")
        + table("security", "-A FORWARD -i + -j ACCEPT", "-A INPUT -p all -j RETURN"),
        (SYN, "eth0 icmp 10.1.0.2 > 10.1.0.1 echo"),
    ),
    "trace-from-the-middle": (
        table(
            "raw",
            "-A PREROUTING -p tcp -m tcp --dport 80",
            "-A PREROUTING -p tcp -j TRACE",
            "-A PREROUTING -j LOG",
        ),
        (SYN, UDP),
    ),
    "log-at-every-hook": (
        table(
            "mangle",
            *(
                f'-A {hook} -j LOG --log-prefix "{hook} " --log-uid --log-macdecode'
                for hook in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
            ),
        ),
        (
            SYN,
            PING,
            "eth0 icmp 10.1.0.2 > 10.1.0.1 echo",
            "local udp 10.1.0.1:9 > 10.1.0.2:9",
            "local udp 10.1.0.1:9 > 10.2.0.1:9",
        ),
    ),
    "empty-nat-table-and-no-conntrack": (
        TRACE + table("nat", "-A PREROUTING -j ACCEPT", "-A POSTROUTING -p udp -j RETURN"),
        (SYN, UDP),
    ),
    "states-in-every-table": (
        TRACE
        + table(
            "raw",
            "-A PREROUTING -m state --state INVALID",
            "-A PREROUTING -p icmp -j NOTRACK",
            "-A PREROUTING -m state --state UNTRACKED",
        )
        + table(
            "filter",
            *(
                f"-A FORWARD -m conntrack --ctstate {state}"
                for state in (
                    "NEW",
                    "ESTABLISHED",
                    "RELATED",
                    "INVALID",
                    "UNTRACKED",
                    "SNAT",
                    "DNAT",
                )
            ),
        ),
        (
            SYN,
            SYNACK,
            "eth0 tcp 10.1.0.2:1000 > 10.2.0.2:80 . seq=2 ack=2",
            PING,
            "eth0 tcp 10.1.0.2:9 > 10.2.0.2:9 SF",
            UDP,
            UDP_BACK,
        ),
    ),
    "conntrack-options": (
        TRACE
        + table(
            "filter",
            "-A FORWARD -m conntrack --ctexpire 0",
            "-A FORWARD -m conntrack --ctexpire 1:200",
            "-A FORWARD -m conntrack --ctstatus NONE",
            "-A FORWARD -m conntrack ! --ctstatus NONE",
            "-A FORWARD -m conntrack --ctstatus CONFIRMED",
            "-A FORWARD -m conntrack --ctstatus SEEN_REPLY,ASSURED",
            "-A FORWARD -m conntrack --ctdir REPLY",
            "-A FORWARD -m conntrack --ctproto icmp --ctorigsrcport 7 --ctorigdstport 2048",
            "-A FORWARD -m conntrack --ctproto icmp --ctreplsrcport 7 --ctrepldstport 0",
            "-A FORWARD -m conntrack --ctorigsrcport 1000 ! --ctrepldstport 1000",
            "-A FORWARD -m conntrack --ctorigsrc 10.1.0.2/24 --ctreplsrc 10.2.0.2",
        ),
        (
            SYN,
            SYNACK,
            PING,
            "eth1 icmp 10.2.0.2 > 10.1.0.2 echo-reply id=7 seq=1",
            UDP,
            UDP,
            UDP_BACK,
        ),
    ),
    "connmark-carries-a-mark-with-shifts": (
        TRACE
        + table(
            "mangle",
            "-A PREROUTING -j CONNMARK --restore-mark --left-shift-mark 4",
            "-A PREROUTING -m mark --mark 0x50",
            "-A FORWARD -m conntrack --ctstate NEW -j MARK --set-mark 0x500",
            "-A FORWARD -m conntrack --ctstate NEW -j CONNMARK --save-mark --right-shift-mark 8",
            "-A POSTROUTING -m connmark --mark 5",
            "-A POSTROUTING -j CONNMARK --set-xmark 0x100/0xff00 --left-shift-mark 1",
            "-A POSTROUTING -j CONNMARK --xor-mark 0x3",
            "-A POSTROUTING -m connmark ! --mark 0/0xf000",
        ),
        (SYN, SYNACK, UDP, UDP_BACK),
    ),
    "zones-keep-connections-apart": (
        TRACE
        + table(
            "raw",
            "-A PREROUTING -i eth0 -s 10.1.0.3 -j CT --zone 3",
            "-A PREROUTING -p udp -j CT --zone-orig 7",
            "-A PREROUTING -p icmp -j MARK --set-mark 9",
            "-A PREROUTING -p icmp -j CT --zone mark",
        )
        + table(
            "filter", "-A FORWARD -m state --state ESTABLISHED", "-A FORWARD -m state --state NEW"
        ),
        (
            UDP,
            UDP,
            UDP_BACK,
            PING,
            "eth0 tcp 10.1.0.3:5 > 10.2.0.2:5 S",
            "eth1 tcp 10.2.0.2:5 > 10.1.0.3:5 SA ack=2",
        ),
    ),
    "notrack-and-nat": (
        TRACE
        + table("raw", "-A PREROUTING -s 10.1.0.3 -j CT --notrack")
        + table(
            "nat",
            "-A PREROUTING -d 10.96.0.1 -p tcp -j DNAT --to-destination 10.2.0.2:8080",
            "-A POSTROUTING -o eth1 -j MASQUERADE",
        )
        + table(
            "filter",
            "-A FORWARD -m conntrack --ctstate UNTRACKED -j REJECT",
            "-A FORWARD -m conntrack --ctstate DNAT,SNAT",
        ),
        (
            "eth0 tcp 10.1.0.2:5 > 10.96.0.1:80 S",
            "eth0 tcp 10.1.0.3:5 > 10.2.0.2:80 S",
            SYN,
            "eth1 tcp 10.2.0.2:8080 > 10.2.0.1:5 SA ack=2",
        ),
    ),
    "recent-lists": (
        TRACE
        + table(
            "filter",
            "-A FORWARD -p tcp -m recent --set --name A",
            "-A FORWARD -m recent --rcheck --name A --hitcount 2",
            "-A FORWARD -m recent ! --update --name A --seconds 100 --hitcount 3",
            "-A FORWARD -m recent --rcheck --name A --rttl",
            "-A FORWARD -m recent --update --name A --rdest",
            "-A FORWARD -p icmp -m recent --remove --name A",
            "-A FORWARD -m recent ! --rcheck --name A",
            "-A FORWARD -m recent --set --name N --mask 255.255.0.0 --rdest",
            "-A FORWARD -m recent --rcheck --name N --rsource",
        ),
        (
            SYN,
            f"{SYN} ttl=60",
            UDP,
            SYN,
            SYNACK,
            PING,
            UDP,
            UDP_BACK,
            "eth0 udp 10.1.0.3:4 > 10.2.0.3:4",
        ),
    ),
    "recent-seconds-and-reap": (
        TRACE
        + table(
            "filter",
            "-A FORWARD -p tcp -m recent --set",
            "-A FORWARD -p udp -m recent --rcheck --seconds 1",
            "-A FORWARD -p udp -m recent --update --seconds 1 --reap",
            "-A FORWARD -m recent --rcheck",
        ),
        (SYN, UDP, "wait 0.7", UDP, "wait 0.7", UDP, "wait 1.4", UDP, UDP),
    ),
    "addrtype-with-devices": (
        TRACE
        + table(
            "filter",
            "-A INPUT -m addrtype --dst-type LOCAL --limit-iface-in",
            "-A INPUT -m addrtype --src-type LOCAL,UNICAST ! --dst-type BROADCAST",
            "-A FORWARD -m addrtype --src-type UNICAST --limit-iface-in",
            "-A FORWARD -m addrtype --src-type LOCAL --limit-iface-out",
            "-A OUTPUT -m addrtype --src-type LOCAL --limit-iface-out",
            "-A OUTPUT -m addrtype --dst-type BROADCAST",
        ),
        (
            UDP,
            "eth0 icmp 10.1.0.2 > 10.2.0.1 echo",
            "eth0 icmp 10.1.0.2 > 10.1.0.255 echo",
            "eth0 icmp 10.1.0.2 > 10.1.0.1 echo",
            "local udp 10.1.0.1:7 > 10.2.0.2:7",
        ),
    ),
    "reject-kinds": (
        TRACE
        + table(
            "filter",
            *(
                f"-A FORWARD -p udp -m udp --dport {port} -j REJECT --reject-with icmp-{kind}"
                for port, kind in enumerate(
                    (
                        "net-unreachable",
                        "host-unreachable",
                        "proto-unreachable",
                        "port-unreachable",
                        "net-prohibited",
                        "host-prohibited",
                        "admin-prohibited",
                    ),
                    1,
                )
            ),
            "-A FORWARD -p tcp -j REJECT --reject-with tcp-reset",
            "-A FORWARD -p icmp -j REJECT",
            "-A INPUT -p tcp -j REJECT --reject-with tcp-reset",
        ),
        (
            *(
                f"eth{port % 2} udp 10.{port % 2 + 1}.0.2:9 > 10.{2 - port % 2}.0.3:{port} tos=0xb8 payload=abc"
                for port in range(1, 8)
            ),
            SYN,
            "eth0 tcp 10.1.0.2:1 > 10.2.0.2:2 . seq=7 ack=9 payload=xyz",
            "eth0 tcp 10.1.0.2:1 > 10.2.0.2:2 R",
            "eth0 tcp 10.1.0.3:1 > 10.1.0.1:2 S",
            PING,
            "eth0 icmp 10.1.0.2 > 10.2.0.2 type=3 code=1 payload=0x4500001c0000000040110000",
        ),
    ),
    "reject-of-our-own-answers": (
        TRACE
        + table(
            "filter",
            "-A OUTPUT -p icmp -j REJECT",
            "-A OUTPUT -p tcp -j REJECT --reject-with tcp-reset",
        ),
        (
            "eth0 icmp 10.1.0.2 > 10.1.0.1 echo",
            "eth0 udp 10.1.0.2:1 > 10.1.0.1:2",
            "eth0 tcp 10.1.0.2:1 > 10.1.0.1:2 S",
            "local tcp 10.1.0.1:5 > 10.1.0.2:5 S",
        ),
    ),
    "nat-ranges-and-shift": (
        TRACE
        + table(
            "nat",
            "-A PREROUTING -d 10.96.0.1 -p tcp -j DNAT --to-destination 10.2.0.2:8000-8009/80",
            "-A PREROUTING -d 10.96.0.2 -j DNAT --to-destination 10.2.0.2-10.2.0.3",
            "-A PREROUTING -d 10.96.0.3 -j DNAT --to-destination 10.2.0.2-10.2.0.3 --persistent",
            "-A PREROUTING -d 10.96.0.4 -p udp -j DNAT --to-destination :99",
            "-A PREROUTING -d 10.1.0.1 -p udp -j REDIRECT --to-ports 9",
            "-A POSTROUTING -p udp -j SNAT --to-source 10.2.0.1:5000-5000",
            "-A POSTROUTING -p tcp -j MASQUERADE --to-ports 6000-6000",
        ),
        (
            "eth0 tcp 10.1.0.2:1 > 10.96.0.1:83 S",
            "eth0 tcp 10.1.0.2:2 > 10.96.0.1:89 S",
            "eth0 tcp 10.1.0.2:3 > 10.96.0.1:95 S",
            *(
                f"eth0 icmp 10.1.0.{host} > 10.96.0.{vip} echo id={host}"
                for host in (2, 3)
                for vip in (2, 3)
            ),
            "eth0 udp 10.1.0.2:5 > 10.96.0.4:53",
            "eth0 udp 10.1.0.2:6 > 10.1.0.1:53",
        ),
    ),
    "mangle-output-routes-again": (
        TRACE
        + table(
            "mangle",
            "-A OUTPUT -p udp -j MARK --set-mark 1",
            "-A OUTPUT -p icmp -j CONNMARK --restore-mark",
        ),
        (
            "local udp 10.1.0.1:9 > 10.2.0.2:9",
            "local icmp 10.1.0.1 > 10.2.0.2 echo",
            "local udp 10.1.0.1:9 > 10.2.0.3:9 mark=7",
        ),
    ),
    "drop-and-accept-end-one-table-only": (
        TRACE
        + table("mangle", "-A FORWARD -j ACCEPT", "-A FORWARD -j DROP")
        + table("filter", "-A FORWARD -p tcp -j ACCEPT")
        + table("security", "-A FORWARD -p tcp -j DROP"),
        (SYN, UDP),
    ),
    "policies": (
        TRACE
        + table(
            "filter",
            ":FORWARD DROP [5:500]",
            ":INPUT DROP [0:0]",
            ":OUTPUT DROP [0:0]",
            "-A FORWARD -p udp -j ACCEPT",
            "-A FORWARD -p tcp -j RETURN",
        ),
        (SYN, UDP, PING, "eth0 icmp 10.1.0.2 > 10.1.0.1 echo", "local udp 10.1.0.1:9 > 10.2.0.2:9"),
    ),
    "queue-without-a-listener": (
        TRACE + table("filter", "-A FORWARD -p udp -j QUEUE"),
        (UDP, SYN),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_netemu_does_as_the_kernel(name: str) -> None:
    rules, steps = CASES[name]
    case = Case(node=node(_joined(rules)), inputs=inputs(steps), name=name)
    outcome = verify_case(case)
    assert outcome.difference is None, str(outcome.difference)


def _joined(rules: str) -> str:
    """Put several sections of one table into one, since iptables-restore replaces a table whole."""
    sections: dict[str, list[str]] = {}
    for section in rules.split("COMMIT\n"):
        if section:
            head, *lines = section.splitlines()
            sections.setdefault(head, []).extend(lines)
    return "".join("\n".join([head, *lines, "COMMIT", ""]) for head, lines in sections.items())
