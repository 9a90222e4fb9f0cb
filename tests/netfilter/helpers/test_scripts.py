"""Conversations of FTP and TFTP as a live kernel's helpers followed them, packet by packet.

The `.script` files beside this one were recorded by tests/kernel/test_helper_scripts.py on Linux
6.18.44 between a client, 10.1.0.2, and a server, 10.2.0.2, with a router between them. A case:

    = name [sysctl=value ...]                     nf_conntrack_* sysctls
    | *raw                                        the router's rules
    > c tcp 10.1.0.2:1000 > 10.2.0.2:21 PA seq=1 ack=2 text="USER x\\r\\n"
                                                  a packet: c from the client's side, s from the
                                                  server's, l from the router itself
    < s tcp 10.2.0.1:1000 > ...                   what left the router, on which side
    + tcp 6 119 SYN_SENT src=...                  conntrack -L afterwards, a line per entry
    ? 299 proto=6 src=...                         conntrack -L expect; + and ? stand only where
                                                  they changed, `-` for none
    ! nf_ct_ftp: dropping packet: ...             what was logged
    > wait 3                                      seconds that pass
    > load tcp 6 100 ESTABLISHED ...              an entry of `conntrack -L` that is there already
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from netemu.clock import NSEC_PER_SEC
from netemu.events import Event, HeaderRewritten, Stamp
from netemu.livekernel.emulator import EmulatedNode
from netemu.netfilter.conntrack.expect import Expectations
from netemu.netfilter.conntrack.table import Conntrack
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NodeSpec,
    TextFile,
)
from netemu.sim.state import state_files
from netemu.wire.address import format_address, parse_address, parse_mac
from netemu.wire.checksum import internet_checksum, pseudo_header_sum
from netemu.wire.icmp import build_icmp
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp

LOCAL = "l"
DEVICES = {"c": "eth0", "s": "eth1"}
SIDES = {device: side for side, device in DEVICES.items()}
ROUTER_MAC = {"c": parse_mac("02:00:00:00:01:01"), "s": parse_mac("02:00:00:00:01:02")}
HOST_MAC = {"c": parse_mac("02:00:00:00:0a:01"), "s": parse_mac("02:00:00:00:0b:01")}
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32}
JIFFY_NS = NSEC_PER_SEC // 250


@dataclass
class Step:
    """A packet and what the kernel made of it."""

    text: str
    sent: list[str] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)


@dataclass
class Case:
    """A named conversation."""

    name: str
    sysctls: dict[str, str]
    rules: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


PARTS = {"<": "sent", "+": "entries", "?": "expected", "!": "logs"}
TABLES = {"entries": 2, "expected": 0}
"""What a step keeps of the step before unless it says otherwise -> column of the timeout."""
NOTHING = "-"


def read_cases(text: str) -> list[Case]:
    """Read a script file."""
    cases: list[Case] = []
    for line in text.splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "=":
            name, *settings = rest.split()
            cases.append(Case(name, dict(item.split("=") for item in settings)))
        elif mark == "|":
            cases[-1].rules.append(rest)
        elif mark == ">":
            steps = cases[-1].steps
            steps.append(Step(rest))
            if len(steps) > 1:
                steps[-1].entries = steps[-2].entries
                steps[-1].expected = steps[-2].expected
        elif mark in PARTS:
            _note(cases[-1].steps, PARTS[mark], rest)
    return cases


def _note(steps: list[Step], part: str, row: str) -> None:
    """Add a row to a step; the first one replaces what was taken over from the step before."""
    step = steps[-1]
    rows = getattr(step, part)
    if len(steps) > 1 and rows is getattr(steps[-2], part):
        rows = []
        setattr(step, part, rows)
    if row != NOTHING:
        rows.append(row)


def write_cases(cases: list[Case]) -> str:
    """Write a script file."""
    out = []
    for case in cases:
        out.append(" ".join(["=", case.name, *(f"{k}={v}" for k, v in case.sysctls.items())]))
        out += [f"| {rule}" for rule in case.rules]
        before = Step("")
        for step in case.steps:
            out.append(f"> {step.text}")
            for mark, name in PARTS.items():
                rows = getattr(step, name)
                if name in TABLES and near(getattr(before, name), rows, TABLES[name]):
                    setattr(step, name, getattr(before, name))
                    continue
                out += [f"{mark} {row}" for row in rows or ([NOTHING] if name in TABLES else [])]
            before = step
        out.append("")
    return "\n".join(out)


def node_of(case: Case) -> NodeSpec:
    """Return the router of a case."""
    links = [LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536, noarp=True)]
    addresses = [
        AddressSpec(device="lo", address=parse_address("127.0.0.1"), prefix_len=8, scope="host")
    ]
    neighbours = []
    for number, (side, device) in enumerate(DEVICES.items(), 1):
        links.append(LinkSpec(name=device, ifindex=1 + number, mac=ROUTER_MAC[side]))
        addresses.append(
            AddressSpec(
                device=device, address=parse_address(f"10.{number}.0.1"), prefix_len=16,
                broadcast=parse_address(f"10.{number}.255.255"),
            )
        )  # fmt: skip
        neighbours += [
            NeighbourSpec(
                device=device, address=parse_address(f"10.{number}.0.{last}"),
                mac=HOST_MAC[side], state="PERMANENT",
            )
            for last in (2, 3)
        ]  # fmt: skip
    loads = [step.text[5:] for step in case.steps if step.text.startswith("load ")]
    return NodeSpec(
        main=NamespaceSpec(
            links=links,
            addresses=addresses,
            neighbours=neighbours,
            sysctls={"net.ipv4.ip_forward": "1"}
            | {f"net.netfilter.nf_conntrack_{key}": value for key, value in case.sysctls.items()},
            rules4=TextFile(name="rules", text="\n".join([*case.rules, ""])),
            conntrack=TextFile(name="conntrack", text="\n".join(loads)) if loads else None,
            sockets=[],
        )
    )


def build_frame(text: str) -> tuple[str, bytes]:
    """Return the side of a step and the frame that enters there."""
    side, protocol, rest = text.split(" ", 2)
    found = re.match(r"(\S+?)(?::(\d+))? > (\S+?)(?::(\d+))?(?: |$)(.*)", rest)
    assert found is not None, text
    src, dst = parse_address(found[1]), parse_address(found[3])
    ports = (int(found[2] or 0), int(found[4] or 0))
    words, quote = found[5], ""
    if "text=" in words:
        words, _, quote = words.partition("text=")
    payload = ast.literal_eval(f"b{quote}") if quote else b""
    options = dict(word.split("=", 1) for word in words.split() if "=" in word)
    number = {key: int(value) for key, value in options.items() if value.isdigit()}
    if protocol == "tcp":
        body = build_tcp(
            src=src, dst=dst, src_port=ports[0], dst_port=ports[1],
            flags=sum(FLAGS[letter] for letter in words.split()[0]),
            seq=number.get("seq", 0), ack=number.get("ack", 0), window=number.get("win", 64240),
            options=bytes.fromhex(options.get("opt", "")), payload=payload,
        )  # fmt: skip
    elif protocol == "udp":
        body = build_udp(
            src=src, dst=dst, src_port=ports[0], dst_port=ports[1], payload=payload
        )  # fmt: skip
    else:
        inner = bytes.fromhex(options["quote"])
        body = build_icmp(icmp_type=number["type"], code=number["code"], rest=0, payload=inner)
    packet = build_ipv4(
        src=src, dst=dst, protocol={"tcp": 6, "udp": 17, "icmp": 1}[protocol],
        payload=bytes(body), identification=number.get("id", 7),
    )  # fmt: skip
    if side == LOCAL:
        return side, bytes(packet)
    return side, ROUTER_MAC[side] + HOST_MAC[side] + b"\x08\x00" + bytes(packet)


def frame_text(device: str, frame: bytes) -> str:
    """Return a frame that left in the words of a step; lengths and sums must be right."""
    packet = frame[14:]
    assert not internet_checksum(packet[:20])
    length = int.from_bytes(packet[2:4], "big")
    body = packet[20:length]
    src, dst = format_address(packet[12:16]), format_address(packet[16:20])
    protocol = packet[9]
    pseudo = 0 if protocol == 1 else pseudo_header_sum(packet[12:16], packet[16:20], protocol,
                                                       len(body))  # fmt: skip
    wrong = " badsum" if internet_checksum(body, pseudo) else ""
    ports = [int.from_bytes(body[at : at + 2], "big") for at in (0, 2)]
    where = f"{SIDES[device]} {{}} {src}:{ports[0]} > {dst}:{ports[1]}"
    if protocol == 1:
        return f"{SIDES[device]} icmp {src} > {dst} {body.hex()}{wrong}"
    if protocol == 17:
        return f"{where.format('udp')} text={_quoted(body[8:])}{wrong}"
    header_len = (body[12] >> 4) * 4
    flags = "".join(letter for letter, bit in FLAGS.items() if body[13] & bit)
    seq, ack = (int.from_bytes(body[at : at + 4], "big") for at in (4, 8))
    extra = f" opt={body[20:header_len].hex()}" if header_len > 20 else ""
    text = f" text={_quoted(body[header_len:])}" if len(body) > header_len else ""
    return f"{where.format('tcp')} {flags} seq={seq} ack={ack}{extra}{text}{wrong}"


def _quoted(data: bytes) -> str:
    return '"' + repr(data)[2:-1].replace('"', '\\"') + '"'


def frames_of(sent: list[tuple[str, bytes]]) -> list[str]:
    """Return the texts of the IPv4 frames that left."""
    return [frame_text(device, frame) for device, frame in sent if frame[12:14] == b"\x08\x00"]


def rows(text: str) -> list[str]:
    """Return rows in an order of their own."""
    squeezed = (re.sub(r"  +", " ", row).strip() for row in text.splitlines())
    return sorted(squeezed, key=lambda row: re.sub(r"\d+", "", row, count=3) + row)


def run_netemu(case: Case) -> list[Step]:
    """Run a conversation through netemu."""
    emulated = EmulatedNode(node_of(case))
    net = emulated.node.main.net
    done = []
    for step in case.steps:
        emulated.node.log.clear()
        sent: list[tuple[str, bytes]] = []
        if step.text.startswith("wait"):
            emulated.run_until(net.clock.now_ns + int(step.text.split()[1]) * NSEC_PER_SEC)
        elif not step.text.startswith("load"):
            side, frame = build_frame(step.text)
            if side == LOCAL:
                sent = emulated.send_local("", frame)
            else:
                sent = emulated.send(DEVICES[side], frame)
        emulated.run_until(net.clock.now_ns + JIFFY_NS)
        done.append(
            Step(
                step.text,
                frames_of(sent),
                rows(net.generic(Conntrack).dump()),
                rows(net.generic(Expectations).dump()),
                list(emulated.node.log),
            )
        )
    return done


SLACK_S = 2
"""The kernel's dump was taken up to a second late, and rows that are one second apart are equal."""


def near(expected: list[str], actual: list[str], at: int, slack_s: int = 1) -> bool:
    """Whether rows agree but for their timeouts, and those nearly so."""
    if len(expected) != len(actual):
        return False
    for left, right in zip(expected, actual, strict=True):
        lefts, rights = left.split(), right.split()
        if abs(int(lefts[at]) - int(rights[at])) > slack_s:
            return False
        if lefts[:at] + lefts[at + 1 :] != rights[:at] + rights[at + 1 :]:
            return False
    return True


def check(case: Case, run: Callable[[Case], list[Step]], slack_s: int = SLACK_S) -> None:
    """Compare what was recorded with a run of now."""
    for expected, actual in zip(case.steps, run(case), strict=True):
        assert (expected.text, expected.sent, expected.logs) == (
            actual.text, actual.sent, actual.logs,
        )  # fmt: skip
        for name, at in TABLES.items():
            left, right = getattr(expected, name), getattr(actual, name)
            assert near(left, right, at, slack_s), (expected, actual)


SCRIPTS = sorted(Path(__file__).parent.glob("*.script"))
CASES = [(path.stem, case) for path in SCRIPTS for case in read_cases(path.read_text())]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{stem}-{case.name}") for stem, case in CASES]
)
def test_script(case: Case) -> None:
    """Every packet leaves the router, and leaves entries and log lines, as the kernel had it."""
    check(case, run_netemu)


def test_what_is_expected_is_among_the_files_of_a_replay() -> None:
    case = next(case for stem, case in CASES if (stem, case.name) == ("tftp", "read"))
    emulated = EmulatedNode(node_of(case))
    assert "conntrack-expect" not in state_files(emulated.node)
    side, frame = build_frame(case.steps[0].text)
    emulated.send(DEVICES[side], frame)
    found = state_files(emulated.node)["conntrack-expect"]
    assert near(case.steps[0].expected, rows(found), 0)


def test_a_trace_tells_what_nat_changed() -> None:
    case = next(case for _, case in CASES if case.name == "active-snat-longer")
    emulated = EmulatedNode(node_of(case))
    told: list[tuple[str, str, str]] = []

    def sink(stamp: Stamp, event: Event) -> None:
        if isinstance(event, HeaderRewritten) and event.what in {"payload", "seq", "ack"}:
            told.append((event.what, event.before, event.after))

    emulated.node.set_sink(sink)
    for step in case.steps[:9]:
        side, frame = build_frame(step.text)
        emulated.send(DEVICES[side], frame)
    assert told == [
        ("payload", "10,1,0,2,4,1", "10,2,100,200,4,1"),
        ("ack", "132", "128"),
        ("seq", "128", "132"),
    ]
