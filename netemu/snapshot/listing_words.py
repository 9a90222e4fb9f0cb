"""What iptables -nvL prints of matches and targets, and the options that it stands for.

Tool: iptables 1.8 extensions/libxt_*.c and libipt_*.c, function `print` of each against `save`. A
row is a pattern and the options as `save` prints them; `{name}` is a group of the pattern, and the
group `not` (a printed `!`) becomes `! ` at `{not}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

Convert = Callable[[re.Match[str]], str]


class Phrase(Struct, frozen=True):
    """A printed phrase and what iptables-save says instead."""

    pattern: re.Pattern[str]
    convert: Convert


def _phrase(pattern: str, template: str) -> Phrase:
    def convert(found: re.Match[str]) -> str:
        groups = {name: value or "" for name, value in found.groupdict().items()}
        if "not" in groups:
            groups["not"] = "! " if groups["not"] else ""
        return template.format(**groups)

    return Phrase(re.compile(pattern), convert)


def _with(pattern: str, convert: Convert) -> Phrase:
    return Phrase(re.compile(pattern), convert)


_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
_LOG_FLAGS = ("--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid")
_RECENT = {"SET": "--set", "UPDATE": "--update", "CHECK": "--rcheck", "REMOVE": "--remove"}
_ALL_BITS = 0xFFFFFFFF


def _ports(found: re.Match[str]) -> str:
    """`tcp spt:5 dpts:!80:90 flags:0x17/0x02`: every part may lack."""
    words = [f"-m {found['protocol']}"]
    words += [
        f"{'! ' if found[f'{side}not'] else ''}--{side}port {found[f'{side}port']}"
        for side in ("s", "d")
        if found[f"{side}port"]
    ]
    if found["option"]:
        words.append(f"--tcp-option {found['option']}")
    if found["mask"]:
        mask, compared = (_flag_names(int(found[name], 16)) for name in ("mask", "comp"))
        words.append(f"{'! ' if found['flagsnot'] else ''}--tcp-flags {mask} {compared}")
    return " ".join(words)


def _flag_names(bits: int) -> str:
    names = [name for place, name in enumerate(_TCP_FLAGS) if bits >> place & 1]
    return ",".join(names) or "NONE"


def _icmp(found: re.Match[str]) -> str:
    kind = found["type"] if found["type"] != "255" else "any"
    code = f"/{found['code']}" if found["code"] else ""
    return f"-m icmp {'! ' if found['not'] else ''}--icmp-type {kind}{code}"


_CONNTRACK = re.compile(
    r"(! )?(ctstate|ctproto|ctorigsrcport|ctorigdstport|ctreplsrcport|ctrepldstport|ctorigsrc"
    r"|ctorigdst|ctreplsrc|ctrepldst|ctstatus|ctexpire|ctdir) (\S+)"
)


def _conntrack(found: re.Match[str]) -> str:
    parts = _CONNTRACK.findall(found[0])
    return "-m conntrack " + " ".join(f"{no}--{name} {value}" for no, name, value in parts)


def _addrtype(found: re.Match[str]) -> str:
    words = ["-m addrtype"]
    words += [
        f"{'! ' if kind.startswith('!') else ''}--{word} {kind.removeprefix('!')}"
        for word, kind in re.findall(r"(src-type|dst-type) (\S+)", found[0])
    ]
    words += [f"--limit-iface-{side}" for side in re.findall(r"limit-(in|out)", found[0])]
    return " ".join(words)


def _recent(found: re.Match[str]) -> str:
    words = [f"-m recent {'! ' if found['not'] else ''}{_RECENT[found['command']]}"]
    if found["seconds"]:
        words.append(f"--seconds {found['seconds']}")
    words += ["--reap"] * bool(found["reap"])
    if found["hits"]:
        words.append(f"--hitcount {found['hits']}")
    words += ["--rttl"] * bool(found["ttl"])
    side = "--rsource" if found["side"] == "source" else "--rdest"
    mask = found["mask"] or "255.255.255.255"
    return " ".join([*words, f"--name {found['name']} --mask {mask} {side}"])


def _log(found: re.Match[str]) -> str:
    bits = int(found["flags"])
    words = [f"--log-prefix {found['prefix']}"] * bool(found["prefix"])
    words += [f"--log-level {found['level']}"] * (found["level"] != "4")
    words += [name for place, name in enumerate(_LOG_FLAGS) if bits >> place & 1]
    return " ".join(words)


def _mark(found: re.Match[str]) -> str:
    """Return the --set-xmark that the printed form stands for (libxt_MARK.c)."""
    value = int(found["value"], 16)
    mask = int(found["mask"], 16) if found["mask"] else _ALL_BITS
    value, mask = {
        "set": (value, _ALL_BITS),
        "xset": (value, mask),
        "or": (value, value),
        "xor": (value, 0),
        "and": (0, ~value & _ALL_BITS),
    }[found["how"]]
    return f"--set-xmark {value:#x}/{mask:#x}"


def _mark_copy(found: re.Match[str]) -> str:
    if found["both"]:
        ct_mask = nf_mask = int(found["both"], 16)
    elif found["masks"]:
        # The tilde of `nfmask ~0xf0` (restore) and `ctmask ~0xf0` (save) is only printed.
        values = dict(re.findall(r"(ctmask|nfmask) ~?(0x[0-9a-f]+)", found["masks"]))
        ct_mask, nf_mask = int(values["ctmask"], 16), int(values["nfmask"], 16)
    else:
        ct_mask = nf_mask = _ALL_BITS
    return f"--{found['how']}-mark --nfmask {nf_mask:#x} --ctmask {ct_mask:#x}"


_NAT_FLAGS = r"(?P<flags>(?: (?:random-fully|random|persistent))*)"


def _flags(found: re.Match[str]) -> str:
    return "".join(f" --{flag}" for flag in found["flags"].split())


def _destination(found: re.Match[str]) -> str:
    return f"--to-destination {found['to']}{_flags(found)}"


def _source(found: re.Match[str]) -> str:
    return f"--to-source {found['to']}{_flags(found)}"


def _port_range(found: re.Match[str]) -> str:
    return f"--to-ports {found['ports']}{_flags(found)}"


def _random(found: re.Match[str]) -> str:
    return f"--{found[0]}"


def _iprange(found: re.Match[str]) -> str:
    parts = re.findall(r"(source|destination) IP range (! )?(\S+)", found[0])
    options = {"source": "--src-range", "destination": "--dst-range"}
    return "-m iprange " + " ".join(f"{no}{options[side]} {value}" for side, no, value in parts)


def _physdev(found: re.Match[str]) -> str:
    return f"-m physdev{found['options']}"


_PROTOCOL_PORTS = (
    r"(?P<protocol>tcp|udp|sctp|dccp|udplite)(?: spts?:(?P<snot>!)?(?P<sport>[\d:]+))?"
    r"(?: dpts?:(?P<dnot>!)?(?P<dport>[\d:]+))?(?: option=(?P<option>\d+))?"
    r"(?: flags:(?P<flagsnot>!)?(?P<mask>0x[0-9A-F]+)/(?P<comp>0x[0-9A-F]+))?(?![^ ])"
)

MATCHES: tuple[Phrase, ...] = (
    _phrase(r"/\* (?P<text>.*?) \*/", '-m comment --comment "{text}"'),
    _with(_PROTOCOL_PORTS, _ports),
    _with(r"icmp ?(?P<not>!)?type (?P<type>\d+)(?: code (?P<code>[\d-]+))?", _icmp),
    _with(rf"(?:{_CONNTRACK.pattern} ?)+(?<! )", _conntrack),
    _phrase(r"(?P<not>! )?state (?P<states>\S+)", "-m state {not}--state {states}"),
    _phrase(r"connmark match  ?(?P<not>! )?(?P<mark>\S+)", "-m connmark {not}--mark {mark}"),
    _phrase(r"mark match (?P<not>! )?(?P<mark>\S+)", "-m mark {not}--mark {mark}"),
    _phrase(
        r"multiport (?P<side>sports|dports|ports) +(?P<not>!)?(?P<list>\S+)",
        "-m multiport {not}--{side} {list}",
    ),
    _with(r"ADDRTYPE match(?: (?:src|dst)-type \S+)+(?: limit-(?:in|out))*", _addrtype),
    _phrase(
        r"statistic mode random (?P<not>! )?probability (?P<p>\S+)",
        "-m statistic --mode random {not}--probability {p}",
    ),
    _phrase(
        r"statistic mode nth (?P<not>! )?every (?P<every>\d+) packet (?P<packet>\d+)",
        "-m statistic --mode nth {not}--every {every} --packet {packet}",
    ),
    _phrase(
        r"statistic mode nth (?P<not>! )?every (?P<every>\d+)",
        "-m statistic --mode nth {not}--every {every} --packet 0",
    ),
    _with(
        r"(?P<not>! )?recent: (?P<command>SET|UPDATE|CHECK|REMOVE)(?: seconds: (?P<seconds>\d+))?"
        r"(?: (?P<reap>reap))?(?: hit_count: (?P<hits>\d+))?(?: (?P<ttl>TTL-Match))?"
        r" name: (?P<name>\S+) side: (?P<side>source|dest)(?: mask: (?P<mask>\S+))?",
        _recent,
    ),
    _phrase(
        r"limit: avg (?P<rate>\S+) burst (?P<burst>\d+)",
        "-m limit --limit {rate} --limit-burst {burst}",
    ),
    _with(r"PHYSDEV match(?P<options>(?: (?:! )?--physdev-(?:is-\w+|(?:in|out) \S+))+)", _physdev),
    _phrase(r"MAC (?P<not>! ?)?(?P<mac>[0-9A-Fa-f:]{17})", "-m mac {not}--mac-source {mac}"),
    _phrase(r"TTL match TTL == (?P<ttl>\d+)", "-m ttl --ttl-eq {ttl}"),
    _phrase(r"TTL match TTL != (?P<ttl>\d+)", "-m ttl ! --ttl-eq {ttl}"),
    _phrase(r"TTL match TTL < (?P<ttl>\d+)", "-m ttl --ttl-lt {ttl}"),
    _phrase(r"TTL match TTL > (?P<ttl>\d+)", "-m ttl --ttl-gt {ttl}"),
    _phrase(r"length (?P<not>! )?(?P<length>[\d:]+)", "-m length {not}--length {length}"),
    _phrase(r"PKTTYPE (?P<not>!)?= (?P<type>\w+)", "-m pkttype {not}--pkt-type {type}"),
    _with(
        r"(?:(?:source|destination) IP range (?:! )?\S+ ?)+(?<! )",
        _iprange,
    ),
    _phrase(r"DSCP match (?P<not>!)?(?P<dscp>\S+)", "-m dscp {not}--dscp {dscp}"),
    _phrase(r"tos match ?(?P<not>!)?(?P<tos>0x\S+)", "-m tos {not}--tos {tos}"),
    _phrase(r"helper match (?P<not>! ?)?(?P<name>\S+)", "-m helper {not}--helper {name}"),
    _phrase(r"match-set (?P<set>\S+) (?P<dirs>\S+)", "-m set --match-set {set} {dirs}"),
    _phrase(r"! match-set (?P<set>\S+) (?P<dirs>\S+)", "-m set ! --match-set {set} {dirs}"),
)
"""In order: an earlier pattern wins."""

TARGETS: dict[str, tuple[Phrase, ...]] = {
    "DNAT": (_with(rf"to:(?P<to>\S+){_NAT_FLAGS}", _destination),),
    "SNAT": (_with(rf"to:(?P<to>\S+){_NAT_FLAGS}", _source),),
    "NETMAP": (_phrase(r"to:(?P<to>\S+)", "--to {to}"),),
    "REDIRECT": (_with(rf"redir ports (?P<ports>\S+){_NAT_FLAGS}", _port_range),),
    "MASQUERADE": (
        _with(rf"masq ports: (?P<ports>\S+){_NAT_FLAGS}", _port_range),
        _with(r"random-fully|random", _random),
    ),
    "MARK": (
        _with(
            r"MARK (?P<how>xset|set|and|xor|or) (?P<value>0x[0-9a-f]+)(?:/(?P<mask>0x[0-9a-f]+))?",
            _mark,
        ),
    ),
    "CONNMARK": (
        _with(
            r"CONNMARK (?P<how>xset|set|and|xor|or) (?P<value>0x[0-9a-f]+)"
            r"(?:/(?P<mask>0x[0-9a-f]+))?",
            _mark,
        ),
        _with(
            r"CONNMARK (?P<how>save|restore)(?: mask (?P<both>0x[0-9a-f]+))?"
            r"(?P<masks>(?: (?:ct|nf)mask ~?0x[0-9a-f]+){2})?",
            _mark_copy,
        ),
    ),
    "LOG": (
        _with(r'LOG flags (?P<flags>\d+) level (?P<level>\d+)(?: prefix (?P<prefix>".*?"))?', _log),
    ),
    "REJECT": (_phrase(r"reject-with (?P<how>\S+)", "--reject-with {how}"),),
    "CT": (
        _phrase(r"CT notrack", "--notrack"),
        _phrase(r"NOTRACK", "--notrack"),
        _phrase(r"CT zone (?P<zone>\d+)", "--zone {zone}"),
        _phrase(r"CT helper (?P<helper>\S+)", "--helper {helper}"),
    ),
    "DSCP": (_phrase(r"DSCP set (?P<dscp>\S+)", "--set-dscp {dscp}"),),
    "TCPMSS": (
        _phrase(r"TCPMSS clamp to PMTU", "--clamp-mss-to-pmtu"),
        _phrase(r"TCPMSS set (?P<mss>\d+)", "--set-mss {mss}"),
    ),
    "TTL": (
        _phrase(r"TTL decrement by (?P<by>\d+)", "--ttl-dec {by}"),
        _phrase(r"TTL increment by (?P<by>\d+)", "--ttl-inc {by}"),
        _phrase(r"TTL set to (?P<to>\d+)", "--ttl-set {to}"),
    ),
}
"""What a target prints after the matches; one that is not here prints nothing."""
