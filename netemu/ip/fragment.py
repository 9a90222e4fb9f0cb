"""Putting fragments together again.

Kernel: net/ipv4/ip_fragment.c, net/ipv4/inet_fragment.c. RFC 791, RFC 5722 (overlaps).

Theory of operation: fragments wait in a queue per (source, destination, id, protocol, user). A
fragment that overlaps others ends the whole queue; one that lies within what is there already is
a duplicate and ignored. The skb of the fragment that completes the packet carries the whole of
it; the other fragments end with it, so their fates point to the same delivery.

All queues together may take net.ipv4.ipfrag_high_thresh octets of memory; once they take more,
every fragment is dropped until some packet's time is up.

The node's own stack copies fragments into the first one's buffer while they find room in it
(skb_try_coalesce); those that follow stay apart, as all do for other users. The packet is later cut
where its parts are apart.
"""

from __future__ import annotations

from bisect import insort
from enum import IntEnum

from msgspec import Struct, field

from netemu.clock import NSEC_PER_SEC, Timer
from netemu.events import PacketQueued
from netemu.ip.buffer import MAX_SKB_FRAGS, pages_of, tailroom, truesize
from netemu.ip.fib_table import RouteType
from netemu.ip.refragment import ip_do_fragment
from netemu.ip.route import ip_route_input
from netemu.ip.rtable import IPSKB_FRAG_COMPLETE, IPSKB_FRAG_PMTU, skb_rtable
from netemu.ip.upcall import report_error
from netemu.net import Net, kfree_skb_reason
from netemu.skb import Checksum, Skb
from netemu.wire.icmp import IcmpType
from netemu.wire.ipv4 import IP_DF, IP_MF, IP_OFFSET, IPv4

__all__ = ["DefragUser", "FragmentQueues", "ip_defrag", "ip_do_fragment", "ip_is_fragment"]

ICMP_EXC_FRAGTIME = 1
"""Fragment reassembly time exceeded (include/uapi/linux/icmp.h)."""

HIGH_THRESH = "net.ipv4.ipfrag_high_thresh"

QUEUE_OCTETS = 200
"""Memory of an empty queue (sizeof(struct ipq), asked of 6.18)."""

ECN_CE = 3

_ECN_REFUSED = -1


class DefragUser(IntEnum):
    """Who asks for reassembly; each has queues of its own (enum ip_defrag_users).

    The numbers are ours; Linux spaces them by 65535, too.
    """

    LOCAL_DELIVER = 0
    CALL_RA_CHAIN = 1
    CONNTRACK_IN = 0x10000
    """Plus the conntrack zone, as the two below."""
    CONNTRACK_OUT = 0x20000
    CONNTRACK_BRIDGE_IN = 0x30000
    VS_IN = 0x40000
    VS_OUT = 0x50000
    VS_FWD = 0x60000


class _Fragment(Struct, kw_only=True, eq=False):
    """One fragment that waits."""

    offset: int
    payload: bytearray
    skb: Skb
    received_octets: int
    """Length of the packet before anything was cut off."""
    cut_octets: int

    @property
    def end(self) -> int:
        return self.offset + len(self.payload)


class FragmentQueue(Struct, kw_only=True, eq=False):
    """The fragments of one packet (struct ipq)."""

    fragments: list[_Fragment] = field(default_factory=list)
    """In order of offset."""
    runs: list[tuple[int, int]] = field(default_factory=list)
    """(start, end) of what arrived without a gap, in order."""
    length: int = 0
    """Octets of payload as far as known."""
    last_in: bool = False
    ecn: int = 0
    """One bit for each ECN codepoint seen."""
    max_size: int = 0
    max_df_size: int = 0
    memory: int = QUEUE_OCTETS
    """Octets that it counts for against ipfrag_high_thresh."""
    rid: int = 0
    """Count of the sender's fragments when the latest one came (ipq->rid)."""
    timer: Timer | None = None


Key = tuple[bytes, bytes, int, int, int]


class FragmentQueues:
    """All queues of a namespace."""

    __slots__ = ("_net", "_rids", "memory", "queues")

    def __init__(self, net: Net) -> None:
        """Start empty."""
        self._net = net
        self._rids: dict[bytes, int] = {}
        """Fragments seen of each sender (inet_peer->rid)."""
        self.queues: dict[Key, FragmentQueue] = {}
        self.memory = 0
        """Octets of all queues (fqdir->mem)."""

    def find(self, key: Key) -> FragmentQueue | None:
        """Return the queue of a packet, made with its timer on first use (inet_frag_find).

        None when the queues take too much memory already.
        """
        limit = self._net.sysctl.get(HIGH_THRESH)
        if not limit or self.memory > limit:
            return None
        found = self.queues.get(key)
        if found is None:
            found = self.queues[key] = FragmentQueue()
            self.memory += found.memory
            self._start_timer(key, found)
        return found

    def charge(self, queue: FragmentQueue, octets: int) -> None:
        """Count memory that a queue takes (add_frag_mem_limit)."""
        queue.memory += octets
        self.memory += octets

    def too_far(self, queue: FragmentQueue, source: bytes) -> bool:
        """Return whether the sender sent too many other fragments meanwhile (ip_frag_too_far).

        A packet whose identification is used again by then would be mixed up.
        """
        limit = self._net.sysctl.get("net.ipv4.ipfrag_max_dist")
        if not limit:
            return False
        self._rids[source] = end = self._rids.get(source, 0) + 1
        start, queue.rid = queue.rid, end
        return bool(queue.fragments) and end - start > limit

    def reinit(self, key: Key, queue: FragmentQueue) -> None:
        """Drop what waits and begin anew (ip_frag_reinit)."""
        for fragment in queue.fragments:
            kfree_skb_reason(self._net, fragment.skb, "FRAG_TOO_FAR")
        queue.fragments.clear()
        queue.runs.clear()
        queue.length = queue.ecn = 0
        queue.last_in = False
        self.charge(queue, QUEUE_OCTETS - queue.memory)
        self._start_timer(key, queue)

    def _start_timer(self, key: Key, queue: FragmentQueue) -> None:
        if queue.timer is not None:
            queue.timer.cancel()
        delay = self._net.sysctl.get("net.ipv4.ipfrag_time") * NSEC_PER_SEC
        queue.timer = self._net.clock.add_timer(delay, lambda: self._expire(key))

    def kill(self, key: Key) -> FragmentQueue | None:
        """Remove a queue and its timer (inet_frag_kill)."""
        queue = self.queues.pop(key, None)
        if queue is not None:
            self.memory -= queue.memory
        if queue is not None and queue.timer is not None:
            queue.timer.cancel()
        return queue

    def destroy(self, key: Key, reason: str) -> None:
        """Remove a queue and drop what waits in it."""
        queue = self.kill(key)
        for fragment in queue.fragments if queue is not None else ():
            kfree_skb_reason(self._net, fragment.skb, reason)

    def _expire(self, key: Key) -> None:
        """Give up; a host tells the sender if it has the first fragment (ip_expire)."""
        queue = self.kill(key)
        if queue is None:
            return
        net = self._net
        fragments = queue.fragments
        if fragments and fragments[0].offset == 0:
            _tell_sender(net, fragments[0].skb, user=key[4])
        for fragment in fragments:
            kfree_skb_reason(net, fragment.skb, "FRAG_REASM_TIMEOUT")


def _tell_sender(net: Net, head: Skb, *, user: int) -> None:
    device = head.device
    header = IPv4(head.data)
    if device is None:
        return
    if ip_route_input(net, head, header.dst, header.src, header.tos, device):
        return
    route = skb_rtable(head)
    local = route is not None and route.kind == RouteType.LOCAL
    if _only_hosts_tell(user) and not local:
        return
    report_error(net, head, IcmpType.TIME_EXCEEDED, ICMP_EXC_FRAGTIME, 0)


def _only_hosts_tell(user: int) -> bool:
    """Return whether the packet must be for us to be told about (frag_expire_skip_icmp)."""
    return user >> 16 in {DefragUser.CONNTRACK_IN >> 16, DefragUser.CONNTRACK_BRIDGE_IN >> 16}


def ip_is_fragment(skb: Skb) -> bool:
    """Return whether the packet is a part of another one."""
    return bool(IPv4(skb.data).frag_off & (IP_MF | IP_OFFSET))


def ip_defrag(net: Net, skb: Skb, user: int) -> bool:
    """Take a fragment; True when `skb` now is the whole packet, False when it was taken.

    A fragment that does not complete its packet is held or dropped here.
    """
    queues = net.generic(FragmentQueues)
    header = IPv4(skb.data)
    key = (header.src, header.dst, header.identification, header.protocol, user)
    queue = queues.find(key)
    if queue is None:
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", "fragments take too much memory")
        return False
    octets = truesize(len(skb.data), net.kernel)
    if not skb.ip_flags & IPSKB_FRAG_COMPLETE and queues.too_far(queue, key[0]):
        queues.reinit(key, queue)
    reason = _queue_fragment(queue, skb)
    if reason is not None:
        if reason != "DUP_FRAG":
            queues.destroy(key, "NOT_SPECIFIED")
            reason = "NOT_SPECIFIED"
        kfree_skb_reason(net, skb, reason)
        return False
    queues.charge(queue, octets)
    if not _is_complete(queue):
        skb.dst = None
        if net.sink is not None:
            net.tell(skb, PacketQueued(where="reassembly"))
        return False
    queues.kill(key)
    return _reassemble(net, queue, skb, user)


def _queue_fragment(queue: FragmentQueue, skb: Skb) -> str | None:
    """Insert a fragment; a reason why it is refused, or None (ip_frag_queue)."""
    header = IPv4(skb.data)
    word = header.frag_off
    offset = (word & IP_OFFSET) << 3
    header_len = header.header_len
    end = offset + len(skb.data) - header_len
    if not word & IP_MF:
        if end < queue.length or (queue.last_in and end != queue.length):
            return "corrupt"
        queue.last_in = True
        queue.length = end
    else:
        end &= ~7
        if end > queue.length:
            if queue.last_in:
                return "corrupt"
            queue.length = end
    if end == offset:
        return "corrupt"
    received = len(skb.data)
    # Octets beyond a multiple of 8 are lost at once (pskb_trim_rcsum), padding is not there.
    del skb.data[header_len + end - offset :]
    payload = skb.data[header_len:]
    new = _Fragment(
        offset=offset,
        payload=payload,
        skb=skb,
        received_octets=received,
        cut_octets=received - len(skb.data),
    )
    refused = _insert(queue, new)
    if refused is not None:
        return refused
    queue.ecn |= 1 << (header.tos & ECN_CE)
    size = len(payload) + header_len
    queue.max_size = max(queue.max_size, size)
    if word & IP_DF:
        queue.max_df_size = max(queue.max_df_size, size)
    return None


def _insert(queue: FragmentQueue, new: _Fragment) -> str | None:
    """Put a fragment in its place (inet_frag_queue_insert).

    Only what follows the last fragment joins that one's run; a duplicate is what lies within one
    run, so the order of arrival decides between duplicate and overlap, as in the kernel.
    """
    runs, offset, end = queue.runs, new.offset, new.end
    if not runs:
        runs.append((offset, end))
    elif runs[-1][1] < end:
        start, stop = runs[-1]
        if offset < stop:
            return "overlap"
        if offset == stop:
            runs[-1] = (start, end)
        else:
            runs.append((offset, end))
    else:
        for start, stop in runs:
            if end > start and offset < stop:
                return "DUP_FRAG" if offset >= start and end <= stop else "overlap"
        insort(runs, (offset, end))
    insort(queue.fragments, new, key=_offset_of)
    return None


def _offset_of(fragment: _Fragment) -> int:
    return fragment.offset


def _is_complete(queue: FragmentQueue) -> bool:
    meat = sum(len(fragment.payload) for fragment in queue.fragments)
    first_in = bool(queue.fragments) and queue.fragments[0].offset == 0
    return queue.last_in and first_in and meat == queue.length


def _reassemble(net: Net, queue: FragmentQueue, skb: Skb, user: int) -> bool:
    """Make `skb` the whole packet (ip_frag_reasm)."""
    ecn = _ecn_of(queue.ecn)
    head = queue.fragments[0].skb
    header_len = IPv4(head.data).header_len
    if ecn == _ECN_REFUSED or header_len + queue.length > 0xFFFF:
        for fragment in queue.fragments:
            kfree_skb_reason(net, fragment.skb, "NOT_SPECIFIED")
        return False
    data = bytearray(head.data[:header_len])
    for fragment in queue.fragments:
        data += fragment.payload
        if fragment.skb is not skb:
            _share_fate(fragment.skb, skb)
    sums = {fragment.skb.ip_summed for fragment in queue.fragments}
    skb.ip_summed = sums.pop() if len(sums) == 1 else Checksum.NONE
    _take_metadata(skb, head)
    skb.data = data
    view = IPv4(data)
    view.total_length = len(data)
    view.tos |= ecn
    skb.frag_max_size = max(queue.max_df_size, queue.max_size)
    # DF only if the largest fragment had it: see the comment in ip_frag_reasm.
    if queue.max_df_size == queue.max_size:
        skb.ip_flags |= IPSKB_FRAG_PMTU
        view.frag_off = IP_DF
    else:
        view.frag_off = 0
    view.update_check()
    skb.frag_list = [len(part.payload) for part in queue.fragments]
    if user == DefragUser.LOCAL_DELIVER:
        skb.frag_list = _coalesced(queue.fragments, net.kernel)
    return True


def _coalesced(fragments: list[_Fragment], kernel: str) -> list[int] | None:
    """Return what stays apart when the first buffer takes in what it can (skb_try_coalesce)."""
    head = fragments[0]
    sizes = [len(head.payload)]
    room = tailroom(head.received_octets, kernel) + head.cut_octets
    pages = pages_of(head.received_octets)
    for part in fragments[1:]:
        more_pages = pages_of(part.received_octets)
        if len(sizes) == 1 and not pages and len(part.payload) <= room:
            sizes[0] += len(part.payload)
            room -= len(part.payload)
        elif len(sizes) == 1 and more_pages and pages + more_pages <= MAX_SKB_FRAGS:
            sizes[0] += len(part.payload)
            pages += more_pages
        else:
            sizes.append(len(part.payload))
    return sizes if len(sizes) > 1 else None


def _take_metadata(skb: Skb, head: Skb) -> None:
    """Give the completed packet what the first fragment carried (skb_morph)."""
    if head is skb:
        return
    skb.mac_header = head.mac_header
    skb.pkt_type = head.pkt_type
    skb.mark = head.mark
    skb.priority = head.priority
    skb.nf_bridge = head.nf_bridge
    skb.ip_flags = head.ip_flags
    skb.options = head.options
    skb.vlan_tci = head.vlan_tci
    skb.nf_trace = head.nf_trace


def _share_fate(part: Skb, whole: Skb) -> None:
    """Let an earlier fragment end as the packet ends that it became a part of."""
    if part.fate is not whole.fate:
        part.fate.merged = whole.fate


def _ecn_of(seen: int) -> int:
    """Return the ECN bits of a packet, by those of its fragments (ip_frag_ecn_table, RFC 3168).

    `seen` has bit 0 for Not-ECT, 1 for ECT(1), 2 for ECT(0), 3 for CE.
    """
    if seen & 1 and seen & 0b1110:
        return _ECN_REFUSED
    return ECN_CE if seen & 8 and seen & 0b0110 else 0
