"""What an element carries beside itself: timeout, counters, comment, skbinfo.

Kernel: net/netfilter/ipset/ip_set_core.c (ip_set_get_extensions, ip_set_match_extensions,
ip_set_put_extensions), include/linux/netfilter/ipset/ip_set.h (ip_set_timeout_set, ...).

An `Extensions` is a slot's memory and stays when its element goes: what a later element in the
same slot does not set, it inherits, as in the kernel.
"""

from __future__ import annotations

from enum import IntFlag

from msgspec import Struct

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.errcode import Errno, SetError

MSEC_PER_SEC = 1000

IPSET_MAX_TIMEOUT = 0xFFFFFFFF >> 1
"""Seconds of --timeout in a rule are cut to it, in thousandths (IPSET_MAX_TIMEOUT)."""

PERMANENT = None
"""IPSET_ELEM_PERMANENT: the element never expires."""

U64 = (1 << 64) - 1


class Extension(IntFlag):
    """Which ones a set has (enum ip_set_extension)."""

    COUNTER = 1
    COMMENT = 2
    TIMEOUT = 4
    SKBINFO = 8


class Extensions(Struct):
    """One slot's."""

    expires_jiffies: int | None = PERMANENT
    stored_timeout_s: int = 0
    """Of bitmap:ip,mac: the timeout that begins when the MAC gets known."""
    packets: int = 0
    octets: int = 0
    comment: str = ""
    skbmark: int = 0
    skbmarkmask: int = 0
    skbprio: int = 0
    skbqueue: int = 0

    def expired(self, now_jiffies: int) -> bool:
        """Return whether the time is over (ip_set_timeout_expired)."""
        return self.expires_jiffies is not None and self.expires_jiffies < now_jiffies

    def copy(self) -> Extensions:
        """Return another slot's with the same content."""
        return Extensions(
            self.expires_jiffies,
            self.stored_timeout_s,
            self.packets,
            self.octets,
            self.comment,
            self.skbmark,
            self.skbmarkmask,
            self.skbprio,
            self.skbqueue,
        )


class Given(Struct, kw_only=True):
    """What an add brings, or what a packet counts (struct ip_set_ext)."""

    timeout_s: int | None = None
    """None: the set has no timeout."""
    packets: int | None = None
    """None keeps what the slot has."""
    octets: int | None = None
    comment: str | None = ""
    """None keeps what the slot has: rules leave comments alone."""
    skbmark: int = 0
    skbmarkmask: int = 0
    skbprio: int = 0
    skbqueue: int = 0


class Wanted(Struct, kw_only=True):
    """What a rule wants of the element's counters, and the element's skbinfo on return."""

    packets_op: str = ""
    """`eq`, `ne`, `lt`, `gt`, or empty."""
    packets: int = 0
    octets_op: str = ""
    octets: int = 0
    skbmark: int = 0
    skbmarkmask: int = 0
    skbprio: int = 0
    skbqueue: int = 0
    note: str = ""
    """Which element was hit, or why the one that is there does not count; for a trace."""


def given_of(kinds: Extension, timeout_s: int | None, attributes: ElementAttributes) -> Given:
    """Return what a command brings; refuse what the set lacks (ip_set_get_extensions)."""
    given = Given(timeout_s=timeout_s)
    if attributes.timeout is not None:
        _need(kinds, Extension.TIMEOUT, Errno.TIMEOUT)
        given.timeout_s = attributes.timeout
    if attributes.bytes is not None or attributes.packets is not None:
        _need(kinds, Extension.COUNTER, Errno.COUNTER)
        given.octets = attributes.bytes
        given.packets = attributes.packets
    if attributes.adt_comment is not None:
        _need(kinds, Extension.COMMENT, Errno.COMMENT)
        given.comment = attributes.adt_comment
    skbinfo = (attributes.skbmark, attributes.skbprio, attributes.skbqueue)
    if skbinfo != (None, None, None):
        _need(kinds, Extension.SKBINFO, Errno.SKBINFO)
        given.skbmark = (attributes.skbmark or 0) >> 32
        given.skbmarkmask = (attributes.skbmark or 0) & 0xFFFFFFFF
        given.skbprio = attributes.skbprio or 0
        given.skbqueue = attributes.skbqueue or 0
    return given


def _need(kinds: Extension, kind: Extension, errno: Errno) -> None:
    if not kinds & kind:
        raise SetError(errno)


def timeout_at(seconds: int, now_jiffies: int, hz: int) -> int | None:
    """Return when an element expires; 0 is never (ip_set_timeout_set)."""
    if not seconds:
        return PERMANENT
    msecs = seconds * MSEC_PER_SEC & 0xFFFFFFFF
    return now_jiffies + (msecs * hz + MSEC_PER_SEC - 1) // MSEC_PER_SEC


def store(slot: Extensions, given: Given, kinds: Extension, now_jiffies: int, hz: int) -> None:
    """Write what an add brings into a slot."""
    if kinds & Extension.COUNTER:
        if given.octets is not None:
            slot.octets = given.octets
        if given.packets is not None:
            slot.packets = given.packets
    if kinds & Extension.COMMENT and given.comment is not None:
        slot.comment = given.comment
    if kinds & Extension.SKBINFO:
        slot.skbmark = given.skbmark
        slot.skbmarkmask = given.skbmarkmask
        slot.skbprio = given.skbprio
        slot.skbqueue = given.skbqueue
    if kinds & Extension.TIMEOUT:
        slot.expires_jiffies = timeout_at(given.timeout_s or 0, now_jiffies, hz)


def match_extensions(  # noqa: PLR0913 - the kernel's own parameters
    slot: Extensions,
    kinds: Extension,
    given: Given,
    wanted: Wanted,
    now_jiffies: int,
    *,
    counts: bool,
    compares: bool,
) -> bool:
    """Count the packet and test the slot's time and counters (ip_set_match_extensions)."""
    if kinds & Extension.TIMEOUT and slot.expired(now_jiffies):
        wanted.note = "it has expired"
        return False
    if kinds & Extension.COUNTER:
        if given.packets is not None and counts:
            slot.octets = slot.octets + (given.octets or 0) & U64
            slot.packets = slot.packets + given.packets & U64
        if compares and not (
            _compare(slot.packets, wanted.packets_op, wanted.packets)
            and _compare(slot.octets, wanted.octets_op, wanted.octets)
        ):
            wanted.note = f"its counters are packets {slot.packets} bytes {slot.octets}"
            return False
    if kinds & Extension.SKBINFO:
        wanted.skbmark = slot.skbmark
        wanted.skbmarkmask = slot.skbmarkmask
        wanted.skbprio = slot.skbprio
        wanted.skbqueue = slot.skbqueue
    return True


def _compare(counter: int, operation: str, value: int) -> bool:
    """Compare a counter as a rule says (ip_set_match_counter)."""
    return {
        "": True,
        "eq": counter == value,
        "ne": counter != value,
        "lt": counter < value,
        "gt": counter > value,
    }[operation]


def put_extensions(
    slot: Extensions,
    kinds: Extension,
    now_jiffies: int,
    hz: int,
    attributes: ElementAttributes,
    *,
    active: bool = True,
) -> None:
    """Add a slot's content to what a listing says of its element (ip_set_put_extensions)."""
    if kinds & Extension.TIMEOUT:
        attributes.timeout = (
            _timeout_get(slot, now_jiffies, hz) if active else slot.stored_timeout_s
        )
    if kinds & Extension.COUNTER:
        attributes.packets = slot.packets
        attributes.bytes = slot.octets
    if kinds & Extension.COMMENT and slot.comment:
        attributes.adt_comment = slot.comment
    if kinds & Extension.SKBINFO:
        if slot.skbmark or slot.skbmarkmask:
            attributes.skbmark = slot.skbmark << 32 | slot.skbmarkmask
        attributes.skbprio = slot.skbprio or None
        attributes.skbqueue = slot.skbqueue or None


def _timeout_get(slot: Extensions, now_jiffies: int, hz: int) -> int:
    """Return the seconds that are left, at least 1; 0 for ever (ip_set_timeout_get)."""
    if slot.expires_jiffies is None:
        return 0
    return max(1, (slot.expires_jiffies - now_jiffies) // hz)
