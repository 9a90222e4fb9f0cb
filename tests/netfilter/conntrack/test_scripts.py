"""Connections as a live kernel tracked them, packet by packet.

The `.script` files beside this one were recorded by tests/kernel/test_conntrack_scripts.py on
Linux 6.18.44 (HZ 250) between two hosts, 10.1.0.2 and 10.2.0.2, and a router that forwards. A case:

    = name [sysctl=value ...]        nf_conntrack_* sysctls
    > o tcp S seq=1 win=64240        a packet: o from 10.1.0.2, r from 10.2.0.2
    < NEW                            its state in mangle PREROUTING
    + tcp 6 119 SYN_SENT src=...     conntrack -L afterwards, a line per entry
    ! nf_ct_proto_6: ...             what log_invalid=255 logged
    > wait 3                         seconds that pass
    > load tcp 6 100 ESTABLISHED ... an entry of `conntrack -L` put in with `conntrack -I`
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from netemu.clock import NSEC_PER_SEC, Clock
from netemu.net import Net
from netemu.netfilter.conntrack.connection import nf_ct_get, state_word
from netemu.netfilter.conntrack.core import nf_confirm, nf_conntrack_in
from netemu.netfilter.conntrack.table import Conntrack
from netemu.netfilter.hook import Family, Hook, HookState, Verdict
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.address import parse_address
from netemu.wire.crc32c import crc32c
from netemu.wire.icmp import build_icmp
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp

HOSTS = {"o": parse_address("10.1.0.2"), "r": parse_address("10.2.0.2")}
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128, ".": 16, "-": 0}


@dataclass
class Step:
    """A packet and what the kernel made of it."""

    text: str
    state: str = ""
    entries: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)


@dataclass
class Case:
    """A named sequence."""

    name: str
    sysctls: dict[str, str]
    steps: list[Step] = field(default_factory=list)


def read_cases(text: str) -> list[Case]:
    """Read a script file."""
    cases: list[Case] = []
    for line in text.splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "=":
            name, *settings = rest.split()
            cases.append(Case(name, dict(item.split("=") for item in settings)))
        elif mark == ">":
            cases[-1].steps.append(Step(rest))
        elif mark == "<":
            cases[-1].steps[-1].state = rest
        elif mark == "+":
            cases[-1].steps[-1].entries.append(rest)
        elif mark == "!":
            cases[-1].steps[-1].logs.append(rest)
    return cases


def write_cases(cases: list[Case]) -> str:
    """Write a script file."""
    out = []
    for case in cases:
        settings = [f"{key}={value}" for key, value in case.sysctls.items()]
        out.append(" ".join(["=", case.name, *settings]))
        for step in case.steps:
            out.append(f"> {step.text}")
            out += [f"< {step.state}"] if step.state else []
            out += [f"+ {entry}" for entry in step.entries]
            out += [f"! {log}" for log in step.logs]
        out.append("")
    return "\n".join(out)


def build_packet(text: str) -> tuple[str, bytes]:
    """Return the sending side and the packet of a step."""
    side, protocol, *words = text.split()
    options = dict(word.split("=", 1) for word in words if "=" in word)
    other = "r" if side == "o" else "o"
    src = parse_address(options["src"]) if "src" in options else HOSTS[side]
    dst = parse_address(options["dst"]) if "dst" in options else HOSTS[other]
    number = {key: int(value) for key, value in options.items() if value.isdigit()}
    payload = bytes(number.get("len", 0))
    ports = (number.get("c", 1000), number.get("s", 80))
    src_port, dst_port = ports if side == "o" else ports[::-1]
    if protocol == "tcp":
        flags = sum(FLAGS[letter] for letter in words[0])
        segment = build_tcp(
            src=src, dst=dst, src_port=src_port, dst_port=dst_port, flags=flags,
            seq=number.get("seq", 0), ack=number.get("ack", 0), window=number.get("win", 0),
            options=bytes.fromhex(options.get("opt", "")), payload=payload,
        )  # fmt: skip
        code = 6
    elif protocol == "udp":
        segment = build_udp(src=src, dst=dst, src_port=src_port, dst_port=dst_port, payload=payload)
        if "nocheck" in words:
            segment[6:8] = bytes(2)
        if "udplen" in number:
            segment[4:6] = number["udplen"].to_bytes(2, "big")
        code = 17
    elif protocol == "icmp":
        body = payload
        if "quote" in options:
            _, inner = build_packet(options["quote"].replace("_", " ").replace(":", "="))
            body = inner[: number.get("cut", len(inner))]
        segment = build_icmp(
            icmp_type=number["type"], code=number.get("code", 0),
            rest=number.get("id", 0) << 16 | number.get("iseq", 0),
            payload=body,
        )  # fmt: skip
        code = 1
    elif protocol == "sctp":
        segment = bytearray(src_port.to_bytes(2, "big") + dst_port.to_bytes(2, "big"))
        segment += number.get("vtag", 0).to_bytes(4, "big") + bytes(4)
        segment += bytes.fromhex(
            "".join(word for word in words if "=" not in word and word != "bad")
        )
        segment[8:12] = crc32c(segment).to_bytes(4, "little")
        code = 132
    else:
        segment = bytearray(bytes.fromhex(options.get("data", "")) + payload)
        code = int(protocol)
    if "bad" in words:
        at = {6: 16, 17: 6, 1: 2, 132: 8}[code]
        segment[at] ^= 0x5A
    if "trunc" in number:
        segment = segment[: number["trunc"]]
    return side, bytes(build_ipv4(src=src, dst=dst, protocol=code, payload=bytes(segment), ttl=64))


def run_netemu(case: Case) -> list[Step]:
    """Run the packets of a case through conntrack."""
    net = Net(clock=Clock(0, 250))
    for key, value in {"log_invalid": "255", **case.sysctls}.items():
        net.sysctl.set(f"net.netfilter.nf_conntrack_{key}", value)
    logs: list[str] = []
    net.nf_log_packet = lambda skb, state, prefix: logs.append(prefix.strip())
    table = net.generic(Conntrack)
    done = []
    for step in case.steps:
        logs.clear()
        if step.text.startswith("wait"):
            net.clock.run_until(net.clock.now_ns + int(step.text.split()[1]) * NSEC_PER_SEC)
            state = ""
        elif step.text.startswith("load"):
            table.load(step.text.removeprefix("load "))
            state = ""
        else:
            _, packet = build_packet(step.text)
            state = _one_packet(net, packet)
        net.clock.run_until(net.clock.now_ns + NSEC_PER_SEC // 250)
        done.append(Step(step.text, state, table.dump().splitlines(), list(logs)))
    return done


def _one_packet(net: Net, packet: bytes) -> str:
    skb = Skb(packet, protocol=ETH_P_IP, fate=net.new_fate())
    state = HookState(
        family=Family.IPV4, hook=Hook.PREROUTING, in_device=None, out_device=None,
        okfn=lambda skb: None,
    )  # fmt: skip
    verdict = nf_conntrack_in(net, skb, state)
    connection, ctinfo = nf_ct_get(skb)
    if verdict != Verdict.ACCEPT:
        return "DROP"
    word = state_word(connection, ctinfo)
    state.hook = Hook.POSTROUTING
    nf_confirm(net, skb, state)
    return word


def normal(entries: list[str]) -> list[str]:
    """Return entries in an order of their own (not that of timeouts), with `use=` removed."""
    clean = (re.sub(r" use=\d+$", "", re.sub(r"  +", " ", entry)) for entry in entries)
    return sorted(clean, key=lambda entry: entry.split()[3:])


def near(expected: list[str], actual: list[str]) -> bool:
    """Whether entries agree, give or take the second in which the kernel's dump was taken."""
    if len(expected) != len(actual):
        return False
    for left, right in zip(normal(expected), normal(actual), strict=True):
        lefts, rights = left.split(), right.split()
        if abs(int(lefts[2]) - int(rights[2])) > 1 or lefts[3:] != rights[3:]:
            return False
    return True


SCRIPTS = sorted(Path(__file__).parent.glob("*.script"))
CASES = [(path.stem, case) for path in SCRIPTS for case in read_cases(path.read_text())]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{stem}-{case.name}") for stem, case in CASES]
)
def test_script(case: Case) -> None:
    """Every packet has the state, and leaves the entries and log lines, that the kernel gave."""
    for expected, actual in zip(case.steps, run_netemu(case), strict=True):
        assert (expected.text, expected.state, expected.logs) == (
            actual.text, actual.state, actual.logs,
        )  # fmt: skip
        assert near(expected.entries, actual.entries), (expected, actual)
