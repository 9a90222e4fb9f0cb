"""Which of several nodes that see the same packets takes care of this one: match `cluster`.

Kernel: net/netfilter/xt_cluster.c (xt_cluster_mt).

The source address of the connection, or of the connection that expected it, is hashed to a node.
A packet without a connection never matches. One that came in a multicast frame to a unicast address
is taken for this host's from then on.
"""

from __future__ import annotations

import struct

from netemu.errors import RulesetError
from netemu.hashing import jhash2, reciprocal_scale
from netemu.net import Net
from netemu.netfilter.conntrack.connection import nf_ct_get
from netemu.netfilter.conntrack.core import nf_ct_netns_get
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.header import destination_address
from netemu.netfilter.xtables.kinds import U32
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import PacketType, Skb

MAX_NODES = 32
"""XT_CLUSTER_NODES_MAX."""


class Cluster:
    """struct xt_cluster_match_info."""

    __slots__ = ("family", "invert", "node_mask", "seed", "total_nodes")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.family = settings.family
        self.node_mask = _node_mask(settings)
        self.invert = _inverted(settings)
        self.total_nodes = settings.need("cluster-total-nodes", int)
        self.seed = settings.need("cluster-hash-seed", int)


def cluster_node(info: Cluster, source: bytes) -> int:
    """Return the node, from 0, of a source address (xt_cluster_hash).

    The kernel hashes the address as the machine's own words, here little-endian ones; one word
    goes through jhash_1word, which is jhash2 of it.
    """
    words = struct.unpack(f"<{len(source) // 4}I", source)
    return reciprocal_scale(jhash2(words, info.seed), info.total_nodes)


def cluster_mt(info: Cluster, skb: Skb, param: XtParam) -> bool:
    """Hash the connection's source to a node and see whether it is one of ours."""
    if skb.pkt_type == PacketType.MULTICAST and not _to_group(skb, info.family):
        skb.pkt_type = PacketType.HOST
    source = _source(skb)
    if source is None:
        return False
    return bool(1 << cluster_node(info, source) & info.node_mask) != info.invert


def _source(skb: Skb) -> bytes | None:
    connection, _ = nf_ct_get(skb)
    if connection is None:
        return None
    return (connection.master or connection).original.src


def _to_group(skb: Skb, family: Family) -> bool:
    first = destination_address(skb, family)[0]
    return first == 0xFF if family == Family.IPV6 else first >> 4 == 0xE


def describe_cluster(info: Cluster, skb: Skb, param: XtParam) -> str:
    """Say the node."""
    source = _source(skb)
    return "no connection" if source is None else f"node {cluster_node(info, source) + 1}"


def attach_cluster(net: Net, info: Cluster) -> None:
    """Begin to track connections (xt_cluster_mt_checkentry)."""
    nf_ct_netns_get(net)


def _node_mask(settings: Settings) -> int:
    node = settings.get("cluster-local-node", int)
    return settings.need("cluster-local-nodemask", int) if node is None else 1 << node - 1


def _inverted(settings: Settings) -> bool:
    return settings.inverted("cluster-local-node") or settings.inverted("cluster-local-nodemask")


def _check_cluster(settings: Settings) -> None:
    if not ("cluster-local-node" in settings or "cluster-local-nodemask" in settings):
        raise RulesetError(
            "cluster match: `--cluster-local-node' or`--cluster-local-nodemask' is missing"
        )
    total = settings.need("cluster-total-nodes", int)
    if _node_mask(settings) >= 1 << total:
        if "cluster-local-node" in settings:
            raise RulesetError(
                "cluster match: `--cluster-local-node' must be <= `--cluster-total-nodes'"
            )
        raise RulesetError(
            "cluster match: `--cluster-local-nodemask' too big for `--cluster-total-nodes'"
        )


def _save_cluster(settings: Settings) -> str:
    return (
        f"{'! ' if _inverted(settings) else ''}"
        f"--cluster-local-nodemask 0x{_node_mask(settings):08x} "
        f"--cluster-total-nodes {settings.need('cluster-total-nodes', int)} "
        f"--cluster-hash-seed 0x{settings.need('cluster-hash-seed', int):08x}"
    )


MATCHES = (
    Match(
        name="cluster",
        kernel="xt_cluster.c",
        duty="Hashes the source of the packet's connection to one of several nodes.",
        options=(
            Option(
                "cluster-total-nodes",
                U32(low=1, high=MAX_NODES),
                mandatory=True,
                help="How many nodes share the connections.",
            ),
            Option(
                "cluster-local-node",
                U32(low=1, high=MAX_NODES),
                invertible=True,
                excludes=("cluster-local-nodemask",),
                help="Number of this node, from 1.",
            ),
            Option(
                "cluster-local-nodemask",
                U32(low=1, high=MAX_NODES),
                invertible=True,
                excludes=("cluster-local-node",),
                help="Bits of the nodes that this one stands for; iptables takes up to 32.",
            ),
            Option("cluster-hash-seed", U32(), mandatory=True, help="The same on all nodes."),
        ),
        check=_check_cluster,
        save=_save_cluster,
        shares=always,
        build=Cluster,
        evaluate=cluster_mt,
        packets=same_for_all,
        attach=attach_cluster,
        describe=describe_cluster,
    ),
)
