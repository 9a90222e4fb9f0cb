"""Asks a kernel that has IPVS: cases go in, what its node did comes out, and netemu's beside it.

The kernel is a user-mode Linux; ../shared/tools/ipvs-oracle boots it and runs a job inside.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from netemu.clock import NSEC_PER_SEC
from netemu.livekernel.case import Case, InputFrame, LocalPacket, OutputFrame, Result
from netemu.livekernel.compare import first_difference
from netemu.netfilter.ipvs.control import ip_vs_set_timeouts
from netemu.netfilter.ipvs.text import (
    list_connections,
    list_services,
    list_stats,
    list_timeouts,
    save_rules,
)
from netemu.ruleset import print_ruleset
from netemu.ruleset.ipvsadm import apply_ipvs
from netemu.sim.node import Node, build_node
from netemu.sim.spec import (
    AddressSpec,
    FdbSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NexthopSpec,
    NodeSpec,
    RouteSpec,
    TextFile,
)
from netemu.sim.state import state_files
from netemu.wire.address import parse_address, parse_mac
from netemu.wire.checksum import csum_replace2
from netemu.wire.fields import get16, set16
from netemu.wire.ipv4 import IPPROTO_UDP
from tests.kernel.ipvs_guest.runner import respond
from tests.kernel.oracle import CACHE, prepared

JsonObject = dict[str, Any]

GUEST = Path(__file__).parent / "ipvs_guest"

FAR = {"client": "eth0", "lan": "eth1", "pod1": "veth1", "pod2": "veth2", "pod3": "veth3"}
"""Port outside -> device of the node."""


def what_lacks() -> str:
    """Name what keeps the kernel from being asked; empty when nothing does."""
    return ", ".join(name for name in ("ipvsadm", "depmod", "apt-get") if not shutil.which(name))


def ask_kernel(cases: list[JsonObject], *, timeout_s: int = 600) -> list[JsonObject]:
    """Run all cases in one boot; return one result per case."""
    with tempfile.TemporaryDirectory(prefix="netemu-ipvs-") as folder:
        job, out = Path(folder, "job"), Path(folder, "out")
        shutil.copytree(GUEST, job, ignore=shutil.ignore_patterns("__pycache__"))
        (job / "cases.json").write_text(json.dumps(cases))
        done = subprocess.run(
            [prepared(), "run", job, out, "--cache", CACHE, "--backend", "uml",
             "--timeout", str(timeout_s), "--mem", "384"],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        results = out / "results.jsonl"
        if done.returncode or not results.is_file():
            console = out / "console.log"
            text = console.read_text(errors="replace")[-3000:] if console.is_file() else ""
            raise AssertionError(f"the kernel was not asked: {done.stdout}{done.stderr}\n{text}")
        return [json.loads(line) for line in results.read_text().splitlines()]


def _link(name: str, index: int, mac: str, **more: object) -> LinkSpec:
    octets = parse_mac(f"02:00:00:00:{mac}") if mac else bytes(6)
    return LinkSpec(name=name, ifindex=index, mac=octets, **more)  # type: ignore[arg-type]


def _address(device: str, text: str, length: int) -> AddressSpec:
    scope = "host" if device == "lo" else "global"
    return AddressSpec(device=device, address=parse_address(text), prefix_len=length, scope=scope)


def _neighbours() -> list[NeighbourSpec]:
    known = [("eth0", "192.168.50.254", "50:02"), ("eth1", "172.16.0.9", "60:02")]
    known += [("cni0", f"10.244.0.{10 * k + i}", f"40:1{i}") for i in (1, 2, 3) for k in (1, 2)]
    known += [("eth0", f"192.168.50.{i}", "50:02") for i in range(2, 34)]
    known += [("eth1", f"172.16.0.{i}", "60:02") for i in range(2, 9)]
    return [
        NeighbourSpec(
            device=device,
            address=parse_address(address),
            mac=parse_mac(f"02:00:00:00:{mac}"),
            state="PERMANENT",
        )
        for device, address, mac in known
    ]


def world(case: JsonObject) -> NodeSpec:
    """Describe the node that runner.py builds, with a case's rules."""
    sysctls = {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.all.send_redirects": "0",
        "net.ipv4.conf.default.send_redirects": "0",
        "net.ipv4.icmp_ratelimit": "0",
        "net.core.message_cost": "0",
    }
    sysctls.update({key: str(value) for key, value in case.get("sysctl", {}).items()})
    links = [
        _link("lo", 1, "", kind="loopback", mtu=65536),
        _link("eth0", 2, "50:01", kind="veth"),
        _link("eth1", 3, "60:01", kind="veth"),
        *(_link(f"veth{i}", 3 + i, f"41:0{i}", kind="veth", master="cni0", port={"no": i})
          for i in (1, 2, 3)),
        _link("cni0", 7, "40:01", kind="bridge"),
        _link("kube-ipvs0", 8, "99:99", kind="dummy", up=False),
    ]  # fmt: skip
    iptables = str(case.get("iptables") or "")
    return NodeSpec(
        main=NamespaceSpec(
            links=links,
            addresses=[
                _address("lo", "127.0.0.1", 8),
                _address("cni0", "10.244.0.1", 24),
                _address("eth0", "192.168.50.1", 24),
                _address("eth1", "172.16.0.1", 24),
                *(_address("kube-ipvs0", f"10.96.0.{i}", 32) for i in range(10, 15)),
            ],
            routes=[
                _route("0.0.0.0", 0, "eth0", "192.168.50.254"),
                _route("203.0.113.0", 24, "eth1", "172.16.0.9"),
            ],
            neighbours=_neighbours(),
            fdb=[
                FdbSpec(bridge="cni0", device=f"veth{i}", mac=parse_mac(f"02:00:00:00:40:1{i}"),
                        state="static")
                for i in (1, 2, 3)
            ],
            sysctls=sysctls,
            rules4=TextFile(name="rules", text=iptables) if iptables else None,
            ipvs=TextFile(name="ipvs", text=str(case.get("ipvs") or "")),
            modules=("ip_vs_ftp",) if case.get("ftp") else (),
            ipset=TextFile(name="ipset", text=case["ipset"]) if "ipset" in case else None,
            sockets=[],
        )
    )  # fmt: skip


def _route(prefix: str, length: int, device: str, gateway: str) -> RouteSpec:
    way = NexthopSpec(device=device, gateway=parse_address(gateway))
    return RouteSpec(prefix=parse_address(prefix), prefix_len=length, nexthops=(way,))


def ask_netemu(case: JsonObject, kernel: JsonObject) -> JsonObject:
    """Do what the kernel did, at the same moments; return the same shape of result."""
    node = build_node(world(case), kernel="6.1")
    if "timeouts" in case:
        ip_vs_set_timeouts(node.main.net, *case["timeouts"])
    sent: list[dict[str, str]] = []
    for name, port in node.ports.items():
        at = next(far for far, device in FAR.items() if device == name)
        port.on_frame = lambda skb, frame, at=at: sent.append({"at": at, "hex": frame.hex()})
    steps: list[JsonObject] = []
    for step, seen in zip(case["steps"], kernel["steps"], strict=True):
        node.run_until(_ns(seen["time"]))
        mine: JsonObject = {"time": seen["time"]}
        if "answer" in step or "error" in step:
            made = respond(steps, step)
            if made is not None:
                mine["in"] = {"at": made[0], "hex": made[1].hex()}
                node.receive(FAR[made[0]], made[1])
        else:
            _do(node, step)
        node.run_until(_ns(seen["end"]))
        mine.update(out=list(sent), log=list(node.log), Ln=list_services(node.main.net))
        steps.append(mine)
        sent.clear()
        node.log.clear()
    node.run_until(_ns(kernel["end"]))
    net, ruleset = node.main.net, node.main.ruleset
    services, connections = list_services(net), list_connections(net)
    node.run_until(_ns(kernel["later"]))
    return {
        "steps": steps,
        "Ln": services,
        "Lnc": connections,
        "Sn": save_rules(net),
        "stats": list_stats(net),
        "timeout": list_timeouts(net),
        "conntrack": state_files(node)["conntrack"],
        "save": print_ruleset(ruleset, counters=True) if ruleset is not None else "",
    }


def _ns(seconds: float) -> int:
    return int(seconds * NSEC_PER_SEC)


def _do(node: Node, step: JsonObject) -> None:
    if "hex" in step:
        node.receive(FAR[step["at"]], bytes.fromhex(step["hex"]))
    elif "local" in step:
        node.send_local(bytes.fromhex(step["local"]))
    elif "ipvs" in step:
        apply_ipvs(node.main.net, step["ipvs"])
    for key, value in step.get("sysctl", {}).items():
        node.main.net.sysctl.set(key, str(value))


def difference(case: JsonObject, kernel: JsonObject) -> str:
    """Run a case in netemu; return the first difference to what the kernel did, or nothing."""
    if "error" in kernel:
        return f"the kernel could not be asked: {kernel['error']}"
    netemu = ask_netemu(case, kernel)
    shared = Case(node=world(case), inputs=_inputs(case, kernel))
    others = first_difference(shared, _result(case, kernel), _result(case, netemu))
    for number, (ours, theirs) in enumerate(zip(kernel["steps"], netemu["steps"], strict=True)):
        found = _apart(_proc_rows(ours["ip_vs"]), _listed_rows(theirs["Ln"]))
        if found:
            return f"servers after step {number}, {case['steps'][number]}\n{found}\n{others}"
    if others is not None:
        return str(others)
    for name in ("Ln", "Sn", "timeout", "stats"):
        if name in kernel and kernel[name] != netemu[name]:
            return f"ipvsadm {name}\n{_apart(kernel[name].splitlines(), netemu[name].splitlines())}"
    listed = kernel.get("Lnc", "").splitlines()[2:]
    mine = netemu["Lnc"].splitlines()[2:]
    if "Lnc" in kernel and kernel["Lnc"].splitlines()[:2] != netemu["Lnc"].splitlines()[:2]:
        return "the headings of ipvsadm -Lnc differ"
    rows = [_proc_connection(line) for line in kernel["connections"][1:]]
    return _connections_apart(rows, mine) or (_connections_apart(listed, mine) if listed else "")


def _inputs(case: JsonObject, kernel: JsonObject) -> list[InputFrame | LocalPacket]:
    found: list[InputFrame | LocalPacket] = []
    for step, seen in zip(case["steps"], kernel["steps"], strict=True):
        if "in" in seen:
            frame = bytes.fromhex(seen["in"]["hex"])
            device = FAR[seen["in"]["at"]]
            found.append(InputFrame(device=device, time_ns=_ns(seen["time"]), frame=frame))
        elif "local" in step:
            packet = bytes.fromhex(step["local"])
            found.append(LocalPacket(namespace="", time_ns=_ns(seen["time"]), packet=packet))
    return found


def _result(case: JsonObject, said: JsonObject) -> Result:
    result = Result(frames={device: [] for device in FAR.values()})
    for seen in said["steps"]:
        for frame in seen["out"]:
            octets = _without_gue_port(bytes.fromhex(frame["hex"]))
            one = OutputFrame(time_ns=_ns(seen["time"]), frame=octets)
            result.frames[FAR[frame["at"]]].append(one)
        result.log += [_without_outer(line) for line in seen["log"] if _OF_PACKETS.match(line)]
    if case.get("iptables"):
        rows = [row for row in said["save"].splitlines() if not row.startswith("#")]
        result.rules[""] = "\n".join(sorted(rows))
    result.conntrack[""] = said["conntrack"].splitlines()
    return result


_OF_PACKETS = re.compile(r"TRACE: |IPVS: .* - ")
"""What else the kernel says, it says once for all cases."""

_OUTER_MAC = re.compile(r"( MAC=(?:[0-9a-f]{2}:){4})[0-9a-f]{2}:[0-9a-f]{2}:(?=.* PROTO=4 )")
_GRE_MAC = re.compile(r"( MAC=)[0-9a-f]{2}:[0-9a-f]{2}:(?=.* PROTO=47 )")
"""Of a tunnel's packet they show the outer checksum, which covers a random identification."""


_GUE_MAC = re.compile(r" MAC=\S*(?= .* DPT=6080 )")
_GUE_PORT = re.compile(r"SPT=\d+(?= DPT=6080 )")


def _without_outer(line: str) -> str:
    """Leave out of a log line what a tunnel draws."""
    line = _GRE_MAC.sub(r"\1", _OUTER_MAC.sub(r"\1", line))
    return _GUE_PORT.sub("SPT=0", _GUE_MAC.sub(" MAC=", line))


GUE_PORT = 6080


def _without_gue_port(frame: bytes) -> bytes:
    """Zero a GUE packet's source port, a hash with a key drawn at boot."""
    data = bytearray(frame)
    whole = len(data) > 46 and data[14] == 0x45 and not get16(data, 20) & 0x1FFF
    if data[12:14] != b"\x08\x00" or not whole or data[23] != IPPROTO_UDP:
        return frame
    if get16(data, 36) == GUE_PORT:
        if get16(data, 40):
            set16(data, 40, csum_replace2(get16(data, 40), get16(data, 34), 0))
        set16(data, 34, 0)
    return bytes(data)


def _apart(kernel: list[str], netemu: list[str]) -> str:
    if kernel == netemu:
        return ""
    return "kernel:\n  " + "\n  ".join(kernel) + "\nnetemu:\n  " + "\n  ".join(netemu)


def _proc_rows(lines: list[str]) -> list[str]:
    """Return /proc/net/ip_vs as ipvsadm would show it, one sorted row per service and server."""
    rows, service = [], ""
    for line in lines[3:]:
        words = line.split()
        if words[0] == "->":
            rows.append(f"{service} {_proc_end(words[1])} {' '.join(words[2:])}")
        else:
            service = (
                f"{words[0]} {_proc_mark(words[1]) if words[0] == 'FWM' else _proc_end(words[1])}"
            )
            rows.append(service)
    return sorted(rows)


def _proc_mark(word: str) -> int:
    """Return a mark as ipvsadm prints it: as a signed number."""
    return int.from_bytes(bytes.fromhex(word), "big", signed=True)


def _proc_end(word: str) -> str:
    address, port = word.split(":")
    return f"{'.'.join(map(str, bytes.fromhex(address)))}:{int(port, 16)}"


def _listed_rows(text: str) -> list[str]:
    rows, service = [], ""
    for line in text.splitlines()[3:]:
        words = line.split()
        if words[0] == "->":
            rows.append(f"{service} {' '.join(words[1:])}")
        else:
            service = f"{words[0]} {words[1]}"
            rows.append(service)
    return sorted(rows)


def _proc_connection(line: str) -> str:
    """Return a line of /proc/net/ip_vs_conn as ipvsadm -Lnc prints it."""
    words = line.split()
    ends = [
        _proc_end(f"{address}:{port}")
        for address, port in zip(words[1:7:2], words[2:8:2], strict=False)
    ]
    seconds = int(words[8])
    expire = f"{seconds // 60:02d}:{seconds % 60:02d}"
    return f"{words[0]:<3} {expire:<6} {words[7]:<11} {ends[0]:<18} {ends[1]:<18} {ends[2]}"


def _connections_apart(kernel: list[str], netemu: list[str]) -> str:
    """Compare two lists of connections but for their order and two seconds of their timeouts."""
    ours, theirs = sorted(map(_row, kernel)), sorted(map(_row, netemu))
    near = len(ours) == len(theirs) and all(
        one[0] == other[0] and abs(one[1] - other[1]) <= 2
        for one, other in zip(ours, theirs, strict=True)
    )
    return "" if near else "connections\n" + _apart(sorted(kernel), sorted(netemu))


def _row(row: str) -> tuple[str, int]:
    """Return a row without its expiry, and the expiry in seconds."""
    protocol, minutes, seconds, rest = re.fullmatch(r"(.+?) (\d+):(\d+) +(.*)", row).groups()  # type: ignore[union-attr]
    return protocol + rest, int(minutes) * 60 + int(seconds)
