"""So many packets or octets in a time for each sender, receiver or port: match `hashlimit`.

Kernel: net/netfilter/xt_hashlimit.c (hashlimit_mt_common, rateinfo_init, rateinfo_recalc).

Theory of operation: rules of one name and family share a table of token buckets, one for each
combination of what --hashlimit-mode names. The first rule of a name makes the table, and its rate,
burst, masks and expiry stay those of the table; every rule keeps only its own inversion and its
way of counting. A bucket starts full, gains credit with every jiffy and pays for a packet; with
rates in octets a packet pays for each 16 octets begun, and the burst is a number of refills. With
--hashlimit-rate-match nothing is paid: packets match while the rate of this interval stays within
the burst and that of the last one stayed within the rate.

A full table, and a packet whose ports cannot be read, drop the packet.

Differs from Linux: there idle entries are removed by deferrable work, which waits for something
else to wake the processor; here it is always on time.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import octets_in, under_mask
from netemu.netfilter.xtables.hashlimit_options import (
    MODES,
    Config,
    check_hashlimit,
    hashlimit_options,
    save_hashlimit,
)
from netemu.netfilter.xtables.header import destination_address, source_address
from netemu.netfilter.xtables.ip6 import ipv6_skip_exthdr
from netemu.netfilter.xtables.kit import Match, Settings
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import own_answer
from netemu.netfilter.xtables.token_bucket import (
    U64_MAX,
    Bucket,
    msecs_to_jiffies,
    rateinfo_init,
    rateinfo_recalc,
)
from netemu.skb import Skb
from netemu.wire.address import format_address, mask_of

PORTS_AT = {6: 0, 17: 0, 33: 0, 50: 0, 51: 4, 132: 0, 136: 0}
"""Where the 4 octets that count as ports stand in a header, by protocol (proto_ports_offset)."""

DEFAULT_SIZE = 8192
"""Slots of a table that says nothing, on a machine with more than 1 GiB."""

BUCKETS_A_SLOT = 8

Key = tuple[bytes, bytes, int, int]
"""Source and destination under their masks, source and destination port; zero where not asked."""


class HashlimitTable:
    """The buckets that rules of one name share (struct xt_hashlimit_htable)."""

    __slots__ = (
        "buckets",
        "config",
        "dst_mask",
        "expire",
        "family",
        "gc_done",
        "gc_interval",
        "most",
        "net",
        "src_mask",
    )

    def __init__(self, net: Net, config: Config, family: Family) -> None:
        """Take the table's properties from its first rule (htable_create)."""
        hz = net.clock.hz
        octets = octets_in(family)
        self.net = net
        self.config = config
        self.family = family
        self.src_mask = mask_of(config.srcmask, octets)
        self.dst_mask = mask_of(config.dstmask, octets)
        size = config.size or DEFAULT_SIZE
        self.most = max(config.most, size) if config.most else BUCKETS_A_SLOT * size
        self.expire = msecs_to_jiffies(config.expire_ms, hz)
        self.gc_interval = msecs_to_jiffies(config.gc_interval_ms, hz)
        self.gc_done = net.clock.jiffies
        self.buckets: dict[Key, Bucket] = {}

    def collect(self) -> None:
        """Do what the periodic cleaning has done by now (htable_gc)."""
        rounds = (self.net.clock.jiffies - self.gc_done) // self.gc_interval
        if not rounds:
            return
        self.gc_done += rounds * self.gc_interval
        for key in [key for key, bucket in self.buckets.items() if bucket.expires <= self.gc_done]:
            del self.buckets[key]

    def bucket(self, key: Key) -> Bucket | None:
        """Return the bucket of a key, filled to now; None when there is no room for a new one."""
        self.collect()
        now = self.net.clock.jiffies
        found = self.buckets.get(key)
        if found is None:
            if len(self.buckets) >= self.most:
                return None
            found = rateinfo_init(self.config, now, self.net.clock.hz)
            self.buckets[key] = found
        else:
            rateinfo_recalc(found, now, self.config, self.net.clock.hz)
        found.expires = now + self.expire
        return found

    def key(self, skb: Skb, param: XtParam) -> Key | None:
        """Return what a packet is sorted by; None when its ports cannot be read.

        Kernel: hashlimit_init_dst.
        """
        data = skb.data
        mode = self.config.mode
        source = destination = bytes(octets_in(self.family))
        if mode & MODES["srcip"]:
            source = under_mask(source_address(skb, self.family), self.src_mask)
        if mode & MODES["dstip"]:
            destination = under_mask(destination_address(skb, self.family), self.dst_mask)
        sport = dport = 0
        if mode & (MODES["srcport"] | MODES["dstport"]):
            ports = _ports(data, self.family, param.thoff)
            if ports is None:
                return None
            sport = ports >> 16 if mode & MODES["srcport"] else 0
            dport = ports & 0xFFFF if mode & MODES["dstport"] else 0
        return source, destination, sport, dport

    def text(self) -> str:
        """Return the table as /proc/net/ipt_hashlimit/NAME shows it, in order of creation."""
        self.collect()
        clock = self.net.clock
        lines = []
        for (source, destination, sport, dport), bucket in self.buckets.items():
            rateinfo_recalc(bucket, clock.jiffies, self.config, clock.hz)
            left = (bucket.expires - clock.jiffies) // clock.hz
            credit, cap, cost = bucket.shown(rate_match=self.config.rate_match)
            lines.append(
                f"{left} {_shown(source)}:{sport}->{_shown(destination)}:{dport} "
                f"{credit} {cap} {cost}\n"
            )
        return "".join(lines)


def _ports(data: bytearray, family: Family, thoff: int) -> int | None:
    """Return both ports as one number, 0 for protocols without."""
    protocol = data[9]
    if family == Family.IPV6:
        header = ipv6_skip_exthdr(data)
        if header is None:
            return None
        thoff, protocol = header.offset, header.protocol
    if protocol not in PORTS_AT:
        return 0
    start = thoff + PORTS_AT[protocol]
    return int.from_bytes(data[start : start + 4], "big") if len(data) >= start + 4 else None


def _shown(address: bytes) -> str:
    """Print an address as %pI4 and %pI6 do: the latter in full."""
    if len(address) == 4:
        return format_address(address)
    return ":".join(address[at : at + 2].hex() for at in range(0, 16, 2))


class HashlimitTables:
    """The tables of one namespace (struct hashlimit_net)."""

    __slots__ = ("by_name",)

    def __init__(self, net: Net) -> None:
        """Start without any; found by `net.generic(HashlimitTables)`."""
        del net
        self.by_name: dict[tuple[str, Family], HashlimitTable] = {}


class Hashlimit:
    """struct xt_hashlimit_mtinfo3."""

    __slots__ = ("config", "family", "name", "table")

    def __init__(self, settings: Settings) -> None:
        """Keep the rule's own properties; `hashlimit_attach` finds the table."""
        self.name = settings.need("hashlimit-name", str)
        self.family = settings.family
        self.config = Config(settings)
        self.table: HashlimitTable | None = None


def hashlimit_attach(net: Net, info: Hashlimit) -> None:
    """Find the table of the name, or make it (hashlimit_mt_check_common)."""
    tables = net.generic(HashlimitTables).by_name
    key = info.name, info.family
    if key not in tables:
        tables[key] = HashlimitTable(net, info.config, info.family)
    info.table = tables[key]


def hashlimit_mt(info: Hashlimit, skb: Skb, param: XtParam) -> bool:
    """Find the packet's bucket and let it pay, or count it."""
    table = info.table
    assert table is not None
    key = table.key(skb, param)
    bucket = table.bucket(key) if key is not None else None
    if bucket is None:
        param.hotdrop = True
        return False
    config = info.config
    if config.rate_match:
        bucket.current_rate += len(skb.data) if config.octets else 1
        within = not bucket.over_last and bucket.current_rate <= bucket.burst & U64_MAX
        return within != config.above
    cost = bucket.octet_cost(len(skb.data), param.net.clock.hz) if config.octets else bucket.cost
    if bucket.credit < cost:
        return config.above
    bucket.credit -= cost
    return not config.above


def describe_hashlimit(info: Hashlimit, skb: Skb, param: XtParam) -> str:
    """Say what is left in the packet's bucket."""
    table = info.table
    assert table is not None
    key = table.key(skb, param)
    bucket = table.buckets.get(key) if key is not None else None
    if bucket is None:
        return "no bucket"
    if info.config.rate_match:
        return f"{bucket.current_rate} in this interval, {bucket.burst} may be"
    return f"credit {bucket.credit}, a packet costs {bucket.cost}"


MATCHES = (
    Match(
        name="hashlimit",
        kernel="xt_hashlimit.c",
        duty="Matches at a limited rate for each address or port, in tables that rules share.",
        options=hashlimit_options(),
        check=check_hashlimit,
        save=save_hashlimit,
        attach=hashlimit_attach,
        build=Hashlimit,
        evaluate=hashlimit_mt,
        packets=own_answer,
        describe=describe_hashlimit,
    ),
)
