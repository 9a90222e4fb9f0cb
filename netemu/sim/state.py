"""What a node holds at an instant, as the tools print it, and one record per packet.

File names are those of the replay directory: `iptables-save`, `ipset-save`, `conntrack`,
`conntrack-expect` where a helper expects something, `neigh`, `fdb`, `ipvsadm-Ln` and `-Lnc` where
there are virtual servers; those of another namespace stand below its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from netemu.clock import NSEC_PER_SEC
from netemu.ip.neighbour import NeighbourTable
from netemu.ip.vxlan import Vxlan
from netemu.link.bridge import Bridge
from netemu.netfilter.conntrack.expect import Expectations
from netemu.netfilter.conntrack.table import Conntrack, Form
from netemu.netfilter.ipset.core import IpSets
from netemu.netfilter.ipvs.table import Ipvs
from netemu.netfilter.ipvs.text import list_connections, list_services
from netemu.netfilter.xtables.model import Rule
from netemu.ruleset import print_ruleset
from netemu.ruleset.ipset import print_sets
from netemu.sim.node import Namespace, Node
from netemu.sim.replay import Comparison, Injected, Replay
from netemu.sim.wiring import device_key


def state_files(node: Node, form: Form = Form.PLAIN) -> dict[str, str]:
    """Return file name -> text of every table of every namespace that has one.

    `form` is how connections are printed.
    """
    files: dict[str, str] = {}
    for name, space in node.namespaces.items():
        for file, text in _namespace_files(space, form).items():
            if text or not name:
                files[device_key(name, file)] = text
    return files


def _namespace_files(space: Namespace, form: Form) -> dict[str, str]:
    net = space.net
    files = {
        "conntrack": net.generic(Conntrack).dump(form),
        "neigh": net.generic(NeighbourTable).text(),
    }
    if expectations := net.generic(Expectations).dump():
        files["conntrack-expect"] = expectations
    if space.ruleset is not None:
        files["iptables-save"] = print_ruleset(
            space.ruleset, counters=True, backend=space.spec.backend
        )
    if net.generic(IpSets):
        files["ipset-save"] = print_sets(net.generic(IpSets))
    if space.spec.ipvs is not None or net.generic(Ipvs).in_use:
        files["ipvsadm-Ln"] = list_services(net)
        files["ipvsadm-Lnc"] = list_connections(net)
    bridges = [device for device in net.devices.values() if isinstance(device, Bridge)]
    vxlans = [device for device in net.devices.values() if isinstance(device, Vxlan)]
    if bridges or vxlans:
        files["fdb"] = "".join(bridge.fdb_text() for bridge in bridges)
        files["fdb"] += "".join(device.fdb.text(device.name) for device in vxlans)
    return files


def verdict_record(injected: Injected) -> dict[str, object]:
    """Return one line of verdicts.jsonl."""
    source, fate = injected.source, injected.fate
    decided = fate.decided_by
    return {
        "file": source.file,
        "index": source.index,
        "time": source.time_ns / NSEC_PER_SEC,
        "time_ns": source.time_ns,
        "in": source.device,
        "verdict": fate.verdict,
        "reason": fate.reason,
        "table": decided.table if decided else None,
        "chain": decided.chain if decided else None,
        "rule": decided.rule if decided else None,
        "line": decided.line if decided else None,
        "out": [sent.device for sent in fate.frames],
        "delivered_to": fate.delivered_to or None,
        "connection": injected.connection or None,
        "rules_visited": fate.rules_visited,
    }


def summary_record(replay: Replay, comparison: Comparison) -> dict[str, object]:
    """Return the object of summary.json."""
    node = replay.node
    verdicts = Counter(injected.fate.verdict for injected in replay.injected)
    reasons = Counter(injected.fate.reason for injected in replay.injected if injected.fate.reason)
    return {
        "frames": len(replay.injected),
        "verdicts": dict(sorted(verdicts.items())),
        "reasons": dict(sorted(reasons.items())),
        "sent": {name: len(frames) for name, frames in replay.sent.items()},
        "expectations": {
            "met": comparison.met,
            "unmet": len(comparison.unmet),
            "extra": len(comparison.extra),
        },
        "rules_never_hit": list(_never_hit(node)),
        "notes": [*node.notes, *replay.note_lines()],
        "seed": node.seed,
        "kernel": node.kernel,
    }


def _never_hit(node: Node) -> Iterable[dict[str, object]]:
    """Yield the rules whose counter this run never moved."""
    for name, space in node.namespaces.items():
        for table in space.ruleset.tables if space.ruleset else ():
            for chain in table.chains.values():
                for number, rule in enumerate(chain.rules, 1):
                    if not space.hits(rule):
                        yield _place(name, table.name, chain.name, number, rule)


def _place(namespace: str, table: str, chain: str, number: int, rule: Rule) -> dict[str, object]:
    return {
        "namespace": namespace or None,
        "table": table,
        "chain": chain,
        "rule": number,
        "line": rule.line,
        "text": rule.text,
    }
