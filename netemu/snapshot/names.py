"""Which namespace a `link_netnsid` means: by the name iproute2 knows, else by veth pairs.

Kernel: net/core/rtnetlink.c (rtnl_fill_link_netnsid). An id is local to the namespace that prints
it. Namespaces of containers have no name for `ip netns list-id`, but a pair of veth ends tells
them: each end prints the other's ifindex, and ifindexes are unique within a namespace.
"""

from __future__ import annotations

from collections.abc import Iterable

from netemu.sim.spec import LinkSpec, NamespaceSpec


def pair_names(spaces: list[NamespaceSpec]) -> None:
    """Complete `netns_ids` of every namespace in place; ids of foreign namespaces go."""
    known = {space.name for space in spaces}
    told = {space.name: space.netns_ids for space in spaces}
    for space in spaces:
        named = {nsid: name for nsid, name in space.netns_ids.items() if name in known}
        for nsid in sorted(_ids(space.links) - named.keys()):
            found = [
                other.name for other in spaces if _mirrored(space, nsid, other, told[other.name])
            ]
            found = [name for name in found if space.name in told[name].values()] or found
            if len(found) == 1:
                named[nsid] = found[0]
        space.netns_ids = dict(sorted(named.items()))


def _ids(links: Iterable[LinkSpec]) -> set[int]:
    return {link.peer_netnsid for link in links if link.peer_netnsid is not None}


def _mirrored(space: NamespaceSpec, nsid: int, other: NamespaceSpec, told: dict[int, str]) -> bool:
    """Return whether every veth end of `space` towards `nsid` has its peer in `other`.

    Two pairs may have the same indexes: a peer that `other` was `told` to be another's is none.
    """
    if other is space:
        return False
    ends = {
        (link.peer_ifindex, link.ifindex)
        for link in space.links
        if link.kind == "veth" and link.peer_netnsid == nsid
    }
    peers = {
        (link.ifindex, link.peer_ifindex)
        for link in other.links
        if link.kind == "veth"
        and link.peer_netnsid is not None
        and told.get(link.peer_netnsid, space.name) == space.name
    }
    return bool(ends) and ends <= peers


def peer_of(spaces: list[NamespaceSpec], space: NamespaceSpec, link: LinkSpec) -> str | None:
    """Return `NS/DEV` (or `DEV`) of a veth end's peer, None when it is not in the snapshot."""
    if link.kind != "veth" or not link.peer_ifindex:
        return None
    name = space.name
    if link.peer_netnsid is not None:
        if link.peer_netnsid not in space.netns_ids:
            return None
        name = space.netns_ids[link.peer_netnsid]
    for other in spaces:
        for peer in other.links:
            if other.name == name and peer.ifindex == link.peer_ifindex:
                return f"{name}/{peer.name}" if name else peer.name
    return None
