"""Namespaces told by name or by the pair of veth ends."""

from __future__ import annotations

from netemu.sim.spec import LinkSpec, NamespaceSpec
from netemu.snapshot.names import pair_names, peer_of


def veth(name: str, ifindex: int, peer: int, netnsid: int | None) -> LinkSpec:
    return LinkSpec(
        name=name, ifindex=ifindex, kind="veth", peer_ifindex=peer, peer_netnsid=netnsid
    )


def test_pods_whose_ends_have_the_same_number() -> None:
    """Every pod calls its device eth0, number 2: only the node's end tells them apart."""
    node = NamespaceSpec(links=[veth("a", 5, 2, 0), veth("b", 6, 2, 1)])
    one = NamespaceSpec(name="one", links=[veth("eth0", 2, 5, 0)])
    two = NamespaceSpec(name="two", links=[veth("eth0", 2, 6, 0)])
    spaces = [node, one, two]
    pair_names(spaces)
    assert node.netns_ids == {0: "one", 1: "two"}
    assert {0: ""} == one.netns_ids == two.netns_ids
    assert tuple(peer_of(spaces, node, link) for link in node.links) == ("one/eth0", "two/eth0")
    assert peer_of(spaces, two, two.links[0]) == "b"


def test_two_candidates_are_not_guessed_between() -> None:
    node = NamespaceSpec(links=[veth("a", 5, 2, 0)])
    twins = [NamespaceSpec(name=name, links=[veth("eth0", 2, 5, 0)]) for name in ("x", "y")]
    pair_names([node, *twins])
    assert node.netns_ids == {}
    assert peer_of([node, *twins], node, node.links[0]) is None


def test_a_candidate_that_names_the_namespace_wins() -> None:
    """Another machine's pair may have the same two indexes: the kernel's own names decide."""
    node = NamespaceSpec(name="node", links=[veth("a", 5, 2, 1)])
    ours = NamespaceSpec(name="pid-7", links=[veth("eth0", 2, 5, 0)], netns_ids={0: "node"})
    unnamed = NamespaceSpec(name="pid-8", links=[veth("eth0", 2, 5, 0)])
    foreign = NamespaceSpec(name="x", links=[veth("eth0", 2, 5, 0)], netns_ids={0: "gone"})
    spaces = [foreign, unnamed, node, ours]
    pair_names(spaces)
    assert node.netns_ids == {1: "pid-7"}
    assert peer_of(spaces, node, node.links[0]) == "pid-7/eth0"


def test_a_candidate_that_names_another_is_none() -> None:
    node = NamespaceSpec(links=[veth("a", 5, 2, 1)])
    ours = NamespaceSpec(name="pid-7", links=[veth("eth0", 2, 5, 0)])
    foreign = NamespaceSpec(name="x", links=[veth("eth0", 2, 5, 0)], netns_ids={0: "gone"})
    pair_names([foreign, node, ours])
    assert node.netns_ids == {1: "pid-7"}


def test_names_of_namespaces_that_are_not_there_go() -> None:
    node = NamespaceSpec(links=[veth("a", 5, 2, 0)], netns_ids={0: "gone", 1: "here"})
    here = NamespaceSpec(name="here")
    pair_names([node, here])
    assert node.netns_ids == {1: "here"}


def test_a_pair_within_one_namespace() -> None:
    node = NamespaceSpec(links=[veth("a", 5, 6, None), veth("b", 6, 5, None)])
    assert peer_of([node], node, node.links[0]) == "b"


def test_other_kinds_have_no_peer() -> None:
    vlan = LinkSpec(name="eth0.5", ifindex=3, kind="vlan", peer_ifindex=2)
    node = NamespaceSpec(links=[LinkSpec(name="eth0", ifindex=2), vlan])
    assert peer_of([node], node, vlan) is None
