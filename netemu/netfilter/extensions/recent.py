"""Addresses seen recently, in named lists that rules share: match `recent`.

Kernel: net/netfilter/xt_recent.c (recent_mt, recent_mt_check, recent_seq_show).

Theory of operation: a list belongs to a namespace and is made by the first rule that names it; that
rule's mask stays the list's. A list keeps 100 addresses (ip_list_tot), the longest unused one goes
first, each with a ring of time stamps in jiffies. The ring holds 32 stamps, or the next power of
two that holds a rule's --hitcount; a rule that needs a longer ring empties the list. `!` turns the
result round before --update looks at it, so `! --update` stamps an address when it did *not* match.
Rules of both families share a list of one name; of a mask that an IPv4 rule gave it, an IPv6
address keeps its first 32 bits.
"""

from __future__ import annotations

from netemu.clock import INITIAL_JIFFIES
from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import octets_in, under_mask
from netemu.netfilter.xtables.header import destination_address, source_address
from netemu.netfilter.xtables.hosts import LooseHost
from netemu.netfilter.xtables.kinds import U32, U32_MAX, Text, Unsigned
from netemu.netfilter.xtables.kit import Given, Match, Option, Settings, printed
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import PacketSpace
from netemu.skb import Skb
from netemu.wire.address import format_address

IP_LIST_TOT = 100
"""Addresses in a list: default of the module's parameter ip_list_tot."""

DEFAULT_STAMPS = 32
"""Stamps of an address when no rule asks for more."""

MAX_HITCOUNT = 65535
OLD_MAX_HITCOUNT = 255
"""XT_RECENT_MAX_NSTAMPS - 1 of 6.18 and of 6.1."""

OPERATIONS = ("set", "rcheck", "update", "remove")


class RecentEntry:
    """One address of a list (struct recent_entry)."""

    __slots__ = ("index", "stamps", "ttl")

    def __init__(self, ttl: int, now: int) -> None:
        """Seen once, now."""
        self.ttl = ttl
        self.stamps = [now]
        self.index = 1

    def update(self, now: int, mask: int) -> None:
        """Add a stamp to the ring (recent_entry_update)."""
        self.index &= mask
        if self.index == len(self.stamps):
            self.stamps.append(now)
        else:
            self.stamps[self.index] = now
        self.index += 1


class RecentTable:
    """One list; its entries stand in order of last use (struct recent_table)."""

    __slots__ = ("entries", "mask", "nstamps_max_mask")

    def __init__(self, mask: bytes, nstamps_max_mask: int) -> None:
        """Start empty."""
        self.mask = mask
        self.nstamps_max_mask = nstamps_max_mask
        self.entries: dict[bytes, RecentEntry] = {}

    def lookup(self, address: bytes, ttl: int) -> RecentEntry | None:
        """Find an address; a TTL of 0, on either side, is any (recent_entry_lookup)."""
        entry = self.entries.get(address)
        if entry is None or (ttl and entry.ttl and entry.ttl != ttl):
            return None
        return entry

    def init(self, address: bytes, ttl: int, now: int) -> None:
        """Add an address, in the place of the longest unused one if need be.

        Differs from Linux: of one address with several TTLs, which --set with --rttl cannot make
        since iptables refuses the two together, only the latest is kept.
        """
        if len(self.entries) >= IP_LIST_TOT:
            del self.entries[next(iter(self.entries))]
        self.entries.pop(address, None)
        self.entries[address] = RecentEntry(ttl, now)

    def update(self, address: bytes, entry: RecentEntry, ttl: int, now: int) -> None:
        """Stamp an address and make it the latest used."""
        entry.update(now, self.nstamps_max_mask)
        entry.ttl = ttl
        self.entries[address] = self.entries.pop(address)

    def reap(self, before: int, working: RecentEntry | None) -> None:
        """Remove the longest unused address if its last stamp is older (recent_entry_reap)."""
        if not self.entries:
            return
        address, oldest = next(iter(self.entries.items()))
        if oldest is not working and before > oldest.stamps[oldest.index - 1]:
            del self.entries[address]

    def masked(self, address: bytes) -> bytes:
        """Return an address under the list's mask (nf_inet_addr_mask)."""
        return under_mask(address, self.mask.ljust(len(address), b"\0")[: len(address)])

    def text(self) -> str:
        """Return the list as /proc/net/xt_recent/NAME shows it."""
        lines = []
        for address, entry in self.entries.items():
            last = entry.stamps[(entry.index - 1) & self.nstamps_max_mask] + INITIAL_JIFFIES
            stamps = ", ".join(str(stamp + INITIAL_JIFFIES) for stamp in entry.stamps)
            lines.append(
                f"src={_shown(address)} ttl: {entry.ttl} last_seen: {last} "
                f"oldest_pkt: {entry.index} {stamps}\n"
            )
        return "".join(lines)


def _shown(address: bytes) -> str:
    """Print an address as %pI4 and %pI6 do: the latter in full."""
    if len(address) == 4:
        return format_address(address)
    return ":".join(address[at : at + 2].hex() for at in range(0, 16, 2))


class RecentTables:
    """The lists of one namespace (struct recent_net)."""

    __slots__ = ("by_name",)

    def __init__(self, net: Net) -> None:
        """Start without any; found by `net.generic(RecentTables)`."""
        self.by_name: dict[str, RecentTable] = {}


class Recent:
    """struct xt_recent_mtinfo_v1."""

    __slots__ = (
        "by_destination",
        "family",
        "hit_count",
        "invert",
        "mask",
        "name",
        "operation",
        "reap",
        "seconds",
        "ttl",
    )

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.operation = _operation(settings)
        self.family = settings.family
        self.invert = settings.inverted(self.operation)
        self.seconds = settings.get("seconds", int, 0)
        self.reap = "reap" in settings
        self.hit_count = settings.get("hitcount", int, 0)
        self.ttl = "rttl" in settings
        self.name = settings.need("name", str)
        self.mask = settings.need("mask", bytes)
        self.by_destination = _side(settings) == "rdest"

    def address(self, skb: Skb) -> bytes:
        """Return the address that the rule looks at."""
        pick = destination_address if self.by_destination else source_address
        return pick(skb, self.family)


def recent_mt(info: Recent, skb: Skb, param: XtParam) -> bool:
    """Look the address up and do what the rule says with it."""
    net = param.net
    table = net.generic(RecentTables).by_name[info.name]
    ttl = skb.data[7 if info.family == Family.IPV6 else 8]
    if param.out_device is not None and skb.sk is None:
        ttl += 1  # as it was before forwarding
    address = table.masked(info.address(skb))
    now = net.clock.jiffies
    result = info.invert
    entry = table.lookup(address, ttl & 0xFF if info.ttl else 0)
    if entry is None:
        if info.operation != "set":
            return result
        table.init(address, ttl & 0xFF, now)
        return not result
    if info.operation == "set":
        result = not result
    elif info.operation == "remove":
        del table.entries[address]
        return not result
    else:
        # info->seconds * HZ is reckoned in 32 bits.
        before = now - (info.seconds * net.clock.hz & 0xFFFFFFFF)
        if _hit(info, entry, before):
            result = not result
        if info.reap:
            working = entry if info.operation == "update" and result else None
            table.reap(before, working)
    if info.operation == "set" or (info.operation == "update" and result):
        table.update(address, entry, ttl & 0xFF, now)
    return result


def recent_packets(info: Recent, space: PacketSpace) -> int:
    """Return all packets for --set, which always holds; else each rule is told for itself."""
    if info.operation == "set":
        return space.when(info.invert, space.both())
    return space.free(space.text)


def _hit(info: Recent, entry: RecentEntry, before: int) -> bool:
    """Count the stamps that are young enough."""
    hits = 0
    for stamp in entry.stamps:
        if info.seconds and before > stamp:
            continue
        hits += 1
        if not info.hit_count or hits >= info.hit_count:
            return True
    return False


def describe_recent(info: Recent, skb: Skb, param: XtParam) -> str:
    """Say whether the list has the address, and how many stamps of it."""
    table = param.net.generic(RecentTables).by_name[info.name]
    address = table.masked(info.address(skb))
    entry = table.entries.get(address)
    if entry is None:
        return f"{format_address(address)}, not in {info.name}"
    return f"{format_address(address)}, in {info.name} with {len(entry.stamps)} stamps"


def attach_recent(net: Net, info: Recent) -> None:
    """Make the list, or make its rings longer, which empties it (recent_mt_check)."""
    if net.kernel == "6.1" and info.hit_count > OLD_MAX_HITCOUNT:
        raise _too_many(info.hit_count, OLD_MAX_HITCOUNT)
    wanted = DEFAULT_STAMPS - 1
    if info.hit_count:
        wanted = (1 << (info.hit_count - 1).bit_length()) - 1
    tables = net.generic(RecentTables).by_name
    table = tables.get(info.name)
    if table is None:
        tables[info.name] = RecentTable(info.mask, wanted)
    elif wanted > table.nstamps_max_mask:
        table.entries.clear()
        table.nstamps_max_mask = wanted


def _too_many(hit_count: int, most: int) -> RulesetError:
    return RulesetError(f"recent: hitcount ({hit_count}) is larger than allowed maximum ({most})")


def _operation(settings: Settings) -> str:
    return next(name for name in OPERATIONS if name in settings)


def _side(settings: Settings) -> str:
    """Return the side that was named last; source if none was."""
    sides = [
        given.option.name for given in settings.order if given.option.name in {"rsource", "rdest"}
    ]
    return sides[-1] if sides else "rsource"


def _check_recent(settings: Settings) -> None:
    """Test what recent_check of libxt_recent and recent_mt_check of the kernel test."""
    if not any(name in settings for name in OPERATIONS):
        raise RulesetError(
            "recent: you must specify one of `--set', `--rcheck' `--update' or `--remove'"
        )
    if _operation(settings) in {"set", "remove"} and (
        "seconds" in settings or settings.get("hitcount", int, 0)
    ):
        raise RulesetError(
            "recent: the kernel refuses --seconds and --hitcount with --set or --remove; "
            "--rcheck or --update would do"
        )
    hit_count = settings.get("hitcount", int, 0)
    if hit_count > MAX_HITCOUNT:
        raise _too_many(hit_count, MAX_HITCOUNT)
    name = settings.need("name", str)
    if name in {"", ".", ".."} or "/" in name:
        raise RulesetError(f"recent: the kernel refuses `{name}' as the name of a list")
    if "mask" not in settings:
        settings.given["mask"] = Given(_MASK, b"\xff" * octets_in(settings.family))


def _save_recent(settings: Settings) -> str:
    """Print zero counts not at all, and the side always."""
    names = [_operation(settings), "seconds", "reap"]
    if settings.get("hitcount", int, 0):
        names.append("hitcount")
    return printed(settings, *names, "rttl", "name", "mask") + f" --{_side(settings)}"


def _others(name: str) -> tuple[str, ...]:
    return tuple(other for other in OPERATIONS if other != name)


class SignedU32(Unsigned):
    """A number from 1, printed as libxt_recent prints it: with %d."""

    def __init__(self) -> None:
        """Accept what U32(low=1) does."""
        super().__init__(1, U32_MAX)

    def show(self, value: int) -> str:
        """Print as a signed number."""
        return str(value - (1 << 32) if value >> 31 else value)


_MASK = Option("mask", LooseHost(), help="Bits of the address that count; all if not given.")

MATCHES = (
    Match(
        name="recent",
        kernel="xt_recent.c",
        duty="Keeps and compares lists of recently seen addresses.",
        options=(
            Option(
                "set",
                invertible=True,
                excludes=_others("set"),
                help="Adds the address.",
                says="its address is put on the list",
            ),
            Option(
                "rcheck",
                invertible=True,
                excludes=_others("rcheck"),
                help="Looks it up.",
                says="its address {is} on the list",
            ),
            Option(
                "update",
                invertible=True,
                excludes=_others("update"),
                help="Looks and stamps it.",
                says="its address {is} on the list, and is stamped again",
            ),
            Option(
                "remove",
                invertible=True,
                excludes=_others("remove"),
                help="Removes it.",
                says="its address {is} on the list, and is taken off",
            ),
            Option(
                "seconds",
                SignedU32(),
                help="Only stamps of the last so many seconds count.",
                says="seen within {value} seconds",
            ),
            Option("reap", requires=("seconds",), help="Removes an entry that is older."),
            Option(
                "hitcount",
                U32(),
                help="So many stamps must count.",
                says="seen at least {value} times",
            ),
            Option("rttl", excludes=("set", "remove"), help="The TTL must be the same, too."),
            Option(
                "name",
                Text(cut=199, raw=True),
                default="DEFAULT",
                help="The list; rules of one name share it.",
                says="the list is {value}",
            ),
            _MASK,
            Option("rsource", help="Of the source, which is so unasked."),
            Option("rdest", help="Of the destination."),
        ),
        check=_check_recent,
        save=_save_recent,
        build=Recent,
        evaluate=recent_mt,
        packets=recent_packets,
        attach=attach_recent,
        describe=describe_recent,
    ),
)
