"""ipset text: `ipset save`, `restore` and `list`, read and printed.

Kernel: none; ipset 7.17.

`words` splits a line, `keywords` and `values` are ipset's options and parsers, `reader` carries the
commands out in a namespace's `IpSets`, `printer` prints them. Which options and parts a set type
has is said by its declaration in `netfilter/ipset/`. Messages are ipset's own words.
"""

from __future__ import annotations

from netemu.netfilter.ipset.core import IpSets
from netemu.ruleset.ipset import reader
from netemu.ruleset.ipset.listing import is_listing, listing_to_commands
from netemu.ruleset.ipset.printer import element_text, print_listing, print_sets

__all__ = [
    "element_text",
    "is_listing",
    "listing_to_commands",
    "print_listing",
    "print_sets",
    "read_sets",
]


def read_sets(text: str, file: str, sets: IpSets) -> None:
    """Carry out `ipset save` or `ipset restore` text, or make what `ipset list` text shows.

    Raises SetTextError at the first line that ipset or the kernel refuses.
    """
    if is_listing(text):
        text = listing_to_commands(text)
    reader.read_sets(text, file, sets)
