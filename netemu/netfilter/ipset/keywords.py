"""Words that many declarations share: options of ipset's commands, in the order of printing.

Kernel: none; ipset's lib/ipset_hash_*.c. A word here is a keyword of `ruleset/ipset_keywords.py`.
"""

from __future__ import annotations

from netemu.netfilter.hook import Family

BOTH: tuple[Family | None, ...] = (Family.IPV4, Family.IPV6)
ANY: tuple[Family | None, ...] = (None,)

FAMILY = ("family", "-4", "-6")
SIZES = ("hashsize", "maxelem")
EXTENSIONS = ("timeout", "counters", "comment", "forceadd", "skbinfo", "bucketsize", "initval")
IGNORED = ("probes", "resize", "ignored-from", "ignored-to", "ignored-network")
"""Options of old versions, read and without effect."""

VALUES = ("packets", "bytes", "adt-comment", "skbmark", "skbprio", "skbqueue")
ADD = ("timeout", *VALUES)
ADD_NET = ("timeout", "nomatch", *VALUES)
TEST_NET = ("nomatch",)
