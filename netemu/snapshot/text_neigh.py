"""Text of `ip -s -s neigh show` and `bridge fdb show` into records.

Tool: iproute2 ip/ipneigh.c, bridge/fdb.c.
"""

from __future__ import annotations

from netemu.snapshot.document import Document
from netemu.snapshot.records import FdbRecord, NeighbourRecord

FDB_STATES = frozenset({"permanent", "static", "stale"})


def neighbour_records(document: Document) -> list[NeighbourRecord]:
    """Return one record per line; the state is the last word."""
    found: list[NeighbourRecord] = []
    for line in document.text.splitlines():
        words = line.split()
        if not words:
            continue
        state = words[-1] if words[-1].isupper() else "NONE"
        if "proxy" in words:
            continue
        found.append(
            NeighbourRecord(
                dst=words[0],
                dev=word_after(words, "dev"),
                lladdr=word_after(words, "lladdr"),
                state=[state],
            )
        )
    return found


def proxy_records(document: Document) -> list[NeighbourRecord]:
    """Return one record per line of `ip neigh show proxy`."""
    lines = [line.split() for line in document.text.splitlines() if line.strip()]
    return [NeighbourRecord(dst=words[0], dev=word_after(words, "dev")) for words in lines]


def fdb_records(document: Document) -> list[FdbRecord]:
    """Return one record per line."""
    found: list[FdbRecord] = []
    for number, line in enumerate(document.text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        found.append(
            FdbRecord(
                mac=words[0],
                ifname=word_after(words, "dev"),
                master=word_after(words, "master"),
                vlan=document.whole_number(number, word_after(words, "vlan")),
                state=next((word for word in words if word in FDB_STATES), ""),
                dst=word_after(words, "dst"),
                port=document.whole_number(number, word_after(words, "port")),
                vni=document.whole_number(number, word_after(words, "vni")),
                viaIf=word_after(words, "via"),
            )
        )
    return found


def word_after(words: list[str], name: str) -> str:
    """Return the word that follows `name`, or nothing."""
    return words[words.index(name) + 1] if name in words[:-1] else ""
