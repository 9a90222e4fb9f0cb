"""How many octets the kernel takes for an element, as `Size in memory` of a listing counts them.

Kernel: net/netfilter/ipset/ip_set_core.c (ip_set_elem_len). Sizes are those of 64-bit machines.
"""

from __future__ import annotations

from netemu.netfilter.ipset.extension import Extension

_EXTENSIONS = (
    (Extension.COUNTER, 16, 8),
    (Extension.COMMENT, 8, 8),
    (Extension.TIMEOUT, 8, 8),
    (Extension.SKBINFO, 16, 4),
)
"""Size and alignment of each, in the order in which they follow the element."""

COMMENT_HEAD = 16
"""struct ip_set_comment_rcu before its text."""


def element_octets(struct_octets: int, kinds: Extension, align: int = 4) -> int:
    """Return the size of an element with its extensions.

    >>> element_octets(4, Extension.COUNTER)
    24
    """
    length = struct_octets
    for kind, octets, alignment in _EXTENSIONS:
        if kinds & kind:
            align = max(align, alignment)
            length = -(-length // alignment) * alignment + octets
    return -(-length // align) * align


def comment_octets(comment: str) -> int:
    """Return the size of a comment; an empty one takes none."""
    return COMMENT_HEAD + len(comment.encode()) + 1 if comment else 0
