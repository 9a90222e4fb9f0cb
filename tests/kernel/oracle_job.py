"""What runs inside the oracle's kernel for test_oracle_live.py; prints one JSON object.

Of a namespace neither the size of the connection table nor that of the expectations can be set;
here the first namespace is ours.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from netemu.livekernel.namespace import run_tool, write_sysctl
from netemu.livekernel.runner import LogPhase
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp

HERE = Path(__file__).parent
HOSTS = {"o": parse_address("10.1.0.2"), "r": parse_address("10.2.0.2")}
MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")
SYN, ACK, PSH = 2, 16, 8


def load(name: str, path: Path) -> ModuleType:
    """Import a file as a module."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


scripts = load("kernel_scripts", HERE / "test_conntrack_scripts.py")
dccp = load("dccp", HERE.parent / "netfilter" / "conntrack" / "test_dccp.py")


class Asked:
    """A router, and what is seen of a packet."""

    def __init__(self) -> None:
        self.router = scripts.Router()
        self.phase = LogPhase()
        with self.router.space.entered():
            for key, value in scripts.DEFAULTS.items():
                write_sysctl(f"net.netfilter.nf_conntrack_{key}", value)

    def close(self) -> None:
        self.phase.close()
        self.router.close()

    def flush(self) -> None:
        with self.router.space.entered():
            run_tool(["conntrack", "-F"])

    def send(self, side: str, packet: bytes) -> None:
        mac = scripts.MACS[side]
        ends = bytes.fromhex((mac[:-1] + "2" + mac).replace(":", ""))
        self.router.tap.send(scripts.PORTS[side], ends + b"\x08\x00" + packet)

    def passed(self) -> int:
        """Return how many IPv4 frames left since the last time."""
        heard = self.router.tap.heard()
        return sum(item.frame[12:14] == b"\x08\x00" for item in heard)

    def logs(self, pattern: str) -> list[str]:
        log = self.phase.log
        log.drain()
        found = [match[0] for line in log._lines if (match := re.search(pattern, line))]
        log._lines.clear()
        return [line.split(" IN=")[0].strip() for line in found]

    def entry(self) -> str:
        with self.router.space.entered():
            text = Path("/proc/thread-self/net/nf_conntrack").read_text()
        text = re.sub(r" +", " ", text.strip()).removeprefix("ipv4 2 ")
        return text.removesuffix(" zone=0 use=2") or "-"


def udp(port: int) -> bytes:
    src, dst = HOSTS["o"], HOSTS["r"]
    body = build_udp(src=src, dst=dst, src_port=port, dst_port=53, payload=b"x")
    return bytes(build_ipv4(src=src, dst=dst, protocol=17, payload=bytes(body), ttl=9))


def tcp(side: str, flags: int, numbers: tuple[int, int], ports: tuple[int, int],
        payload: bytes = b"") -> bytes:  # fmt: skip
    src, dst = (HOSTS["o"], HOSTS["r"]) if side == "o" else (HOSTS["r"], HOSTS["o"])
    body = build_tcp(
        src=src, dst=dst, src_port=ports[0], dst_port=ports[1], seq=numbers[0], ack=numbers[1],
        flags=flags, window=1000, payload=payload,
    )  # fmt: skip
    return bytes(build_ipv4(src=src, dst=dst, protocol=6, payload=bytes(body), ttl=9))


def connect(asked: Asked, port: int, server: int) -> None:
    """Let a TCP connection be established, thus assured."""
    asked.send("o", tcp("o", SYN, (100, 0), (port, server)))
    asked.send("r", tcp("r", SYN | ACK, (500, 101), (server, port)))
    asked.send("o", tcp("o", ACK, (101, 501), (port, server)))


def full_tables(asked: Asked) -> dict[str, list[int]]:
    """Return how many of 300 flows got into full tables, by their size."""
    Path("/proc/sys/net/netfilter/nf_conntrack_buckets").write_text("512")
    found = {}
    for most in (100, 400, 50):
        passed = []
        for turn in range(4):
            MAX.write_text("100000")
            asked.flush()
            time.sleep(0.3)
            MAX.write_text(str(most))
            first = 10000 * (turn + 1)
            for number in range(most):
                asked.send("o", udp(first + number))
            asked.passed()
            for number in range(300):
                asked.send("o", udp(first + 5000 + number))
            passed.append(asked.passed())
        found[str(most)] = passed
    MAX.write_text("100000")
    return found


def assured(asked: Asked) -> list[object]:
    """Return how many got past a table full of assured connections, and what was logged."""
    asked.flush()
    MAX.write_text("3")
    for port in (1, 2, 3):
        connect(asked, port, 80)
    asked.passed()
    asked.logs("")
    asked.send("o", udp(10))
    found = [asked.passed(), *asked.logs("nf_conntrack: .*")]
    MAX.write_text("100000")
    return found


def full_expectations(asked: Asked) -> list[str]:
    """Return what is logged when one expectation more than fits is made."""
    asked.flush()
    Path("/proc/sys/net/netfilter/nf_conntrack_expect_max").write_text("1")
    with asked.router.space.entered():
        rule = ["-A", "PREROUTING", "-p", "tcp", "--dport", "21", "-j", "CT", "--helper", "ftp"]
        run_tool(["iptables-legacy", "-t", "raw", *rule])
    for port in (1001, 1002):
        connect(asked, port, 21)
        asked.send("o", tcp("o", ACK | PSH, (101, 501), (port, 21), b"A\r\n"))
        asked.logs("")
        command = b"PORT 10,1,0,2,4,%d\r\n" % (port - 1000)
        asked.send("o", tcp("o", ACK | PSH, (104, 501), (port, 21), command))
    with asked.router.space.entered():
        run_tool(["iptables-legacy", "-t", "raw", "-F"])
    return asked.logs("(nf_ct|nf_conntrack).*")


def all_dccp(asked: Asked) -> list[str]:
    """Return the rows of tests/oracle/conntrack_dccp_6_1.txt."""
    rows = []
    cases = {name: ([], packets) for name, packets in dccp.SEQUENCES.items()}
    for state, before in dccp.REACHES.items():
        for side in "or":
            for kind in (*dccp.Type, dccp.BAD_TYPE):
                word = "BAD" if kind == dccp.BAD_TYPE else kind.name
                last = dccp.packet(side, kind, 600, 700)
                cases[f"{state} {side} {word}"] = (before, [last])
    for name, (before, packets) in cases.items():
        asked.flush()
        for data in before:
            asked.send("o" if data[12:16] == HOSTS["o"] else "r", data)
        asked.logs("")
        for data in packets:
            asked.send("o" if data[12:16] == HOSTS["o"] else "r", data)
            logs = asked.logs("nf_ct_proto_.*")
            rows.append(f"{name} ; {asked.entry()} ; {logs[0] if logs else '-'}")
    return rows


PARTS: dict[str, Callable[[Asked], object]] = {
    "full": full_tables,
    "assured": assured,
    "expect": full_expectations,
    "dccp": all_dccp,
}

if __name__ == "__main__":
    asked = Asked()
    found = {part: PARTS[part](asked) for part in sys.argv[1:]}
    asked.close()
    json.dump(found, sys.stdout)
