"""Rules made from the declarations of the extensions: good values, edges and wrong uses."""

from __future__ import annotations

import random
from collections.abc import Iterator

from netemu.netfilter.extensions import EXTENSIONS
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import Interface, Mac
from netemu.netfilter.xtables.hosts import LooseHost, LooseHostMask
from netemu.netfilter.xtables.kinds import (
    Choice,
    Kind,
    MaskedU32,
    Probability,
    Text,
    Unsigned,
    UnsignedRange,
)
from netemu.netfilter.xtables.kit import Extension, Option
from netemu.netfilter.xtables.ports import PortRange, ResolvedPorts

JUNK = ["", "x", "-1", "0x", "1/", "a,b", "99999999999", "+", "!"]
ADDRESSES = [
    "10.1.2.3",
    "10.1.2.3/24",
    "10.1/255.255.0.0",
    "1.2.3.4/255.0.255.0",
    "0/0",
    "1.2.3.4/33",
    "010.0x1.2.3",
]
TEXTS = [
    "x",
    '"a b"',
    '""',
    '"a\\"b\\\\c\'d"',
    "a.b",
    "a#b",
    "a_b-c",
    "é",
    "x" * 29,
    "y" * 64,
    "z" * 256,
]
PORTS = ["80", "http", "0:65535", "5:", ":5", "9:9", "9:8", "domain:http", "65536", "0x50", "1-5"]

SPECIAL: dict[tuple[str, str], list[str]] = {
    ("tcp", "tcp-flags"): [
        "ALL NONE",
        "SYN,ACK SYN",
        "syn SYN",
        "NONE NONE",
        "NONE SYN",
        "SYN FOO",
        "SYN",
    ],
    ("icmp", "icmp-type"): [
        "8",
        "any",
        "3/3",
        "255",
        "echo-re",
        "ping",
        "3/256",
        "256",
        "TOS-host-redirect",
        "0x3/0x1",
    ],
    ("limit", "limit"): [
        "1/s",
        "7/min",
        "100/minute",
        "3/h",
        "3/day",
        "10000/s",
        "10001/s",
        "5.5/s",
        "0/s",
        "2/seconds",
    ],
    ("limit", "limit-burst"): ["0", "1", "5", "20", "10000", "10001"],
    ("multiport", "sports"): [
        "80",
        "80,443",
        "1:2,3",
        "5:5",
        "http,99",
        "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15:16",
    ],
    ("multiport", "dports"): ["80", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", "9:3", "1,,2"],
    ("multiport", "ports"): ["80:90", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16"],
    ("conntrack", "ctstate"): [
        "NEW",
        "new,est",
        "INVALID,UNTRACKED,SNAT,DNAT",
        "FOO",
        "NEW,",
        "RELATED,NEW",
    ],
    ("state", "state"): ["NEW", "ESTABLISHED,related", "UNTRACKED", "SNAT", "FOO"],
    ("conntrack", "ctstatus"): ["NONE", "EXPECTED,SEEN_REPLY", "ASSURED", "CONFIRMED", "FOO"],
    ("conntrack", "ctdir"): ["ORIGINAL", "reply", "FOO"],
    ("conntrack", "ctproto"): ["tcp", "17", "0", "foo"],
    ("addrtype", "src-type"): ["LOCAL", "local,UNICAST", "FOO", "BROADCAST"],
    ("addrtype", "dst-type"): ["LOCAL", "THROW,NAT", "UNSPEC", "MULTICAST,ANYCAST"],
    ("DNAT", "to-destination"): [
        "10.0.0.1",
        "10.0.0.1:80",
        "10.0.0.1-10.0.0.5:80-90",
        ":80",
        "10.0.0.1:80-90/5",
        "x",
        "10.0.0.1:http",
    ],
    ("SNAT", "to-source"): ["10.0.0.1", "10.0.0.1:80", "10.0.0.1-10.0.0.5:80-90", ":80", "x"],
    ("MASQUERADE", "to-ports"): ["80", "80-90", "90-80", "http", "0"],
    ("REDIRECT", "to-ports"): ["80", "80-90", "90-80", "http", "0"],
    ("LOG", "log-level"): ["4", "warning", "debug", "7", "8", "EMERG", "foo", "err"],
    ("LOG", "log-prefix"): ['"x: "', "a", "x" * 29, "x" * 30, "x" * 40, '""', '"a b"'],
    ("recent", "name"): ["foo", "DEFAULT", "a.b", '""', "x" * 199, "x" * 200, "a/b"],
    ("recent", "mask"): ["255.255.255.0", "255.255.255.255", "24", "x"],
    ("physdev", "physdev-in"): ["eth0", "veth+", "+", "x" * 16],
    ("physdev", "physdev-out"): ["eth0", "veth+"],
    ("CT", "ctevents"): ["new,destroy", "assured", "foo", "NEW"],
    ("CT", "zone"): ["1", "65535", "65536", "mark"],
    ("CT", "zone-orig"): ["1", "mark"],
    ("CT", "zone-reply"): ["1", "mark"],
    ("CT", "helper"): ["nosuch"],
    ("CT", "timeout"): ["nosuch"],
    ("TOS", "set-tos"): ["5", "0x10/0x3f", "Minimize-Delay", "256", "5/", "5/256", "x", "0/0"],
    ("DSCP", "set-dscp-class"): ["EF", "be", "CS0", "cs7x", "AF13", "AF44", "AF", "VA"],
    ("TCPOPTSTRIP", "strip-options"): ["2", "wscale,mss,19", "1", "255", "256", "4,4", "5,", "x"],
    ("CLASSIFY", "set-class"): ["1:2", "ffff:ffff", "10000:1", ":1", "1:", "0x:a", "-1:2x", "1"],
    ("NETMAP", "to"): [
        "10.0.0.0/24",
        "10.0.0.9/16",
        "10.0.0.0/255.0.255.0",
        "10.1/33",
        "0/0",
        "2001:db8::5/64",
        "::/0",
        "2001:db8::/129",
        "x",
    ],
    ("TEE", "gateway"): ["10.0.0.1", "10.1", "0.0.0.0", "::1", "::", "10.0.0.1/8"],
    ("NFQUEUE", "queue-balance"): ["1:4", "0:65534", "0:65535", "4:1", "4", ":4", "4:", ":", "x"],
    ("TPROXY", "on-port"): ["50080", "0", "http", "65536", "nosuch", "070"],
    ("TPROXY", "on-ip"): ["10.0.0.1", "127.1", "::1", "::", "10.0.0.1/8"],
    ("AUDIT", "type"): ["accept", "DROP", "reject", "foo", ""],
    ("HMARK", "hmark-tuple"): [
        "src,dst",
        "ct",
        "S,d,sp,dp,p",
        "spi",
        "src,spi,sport",
        "x",
        "",
        "src,",
    ],
    ("HMARK", "hmark-src-prefix"): ["24", "0", "129", "255.255.0.0", "ffff::", "x"],
    ("HMARK", "hmark-dst-prefix"): ["32", "64", "33", "255.0.255.0"],
    ("IDLETIMER", "label"): ["wan", "a.b", '"a b"', "power", ".", "a/b", '""', "x" * 28],
    ("RATEEST", "rateest-interval"): ["250ms", "1s", "0.5S", "9s", "1m", "100", "x"],
    ("RATEEST", "rateest-ewmalog"): ["500ms", "3s", "100s", "1us", "x"],
    ("REJECT", "reject-with"): [
        "icmp-port-unreachable",
        "tcp-reset",
        "port-unreach",
        "icmp-admin-prohibited",
        "foo",
        "echo-reply",
        "net-unreach",
        "icmp6-no-route",
        "adm-prohibited",
        "policy-f",
        "reject-route",
    ],
    ("length", "length"): ["5", "5:9", "5:", "9:5", "65535", "65536", "", ":", "0x10"],
    ("tos", "tos"): [
        "5",
        "0x10/0x3f",
        "Minimize-Delay",
        "normal-service",
        "256",
        "5/",
        "5/256",
        "x",
        '""',
        "0/0",
    ],
    ("dscp", "dscp"): ["0", "63", "64", "0x20", "x"],
    ("dscp", "dscp-class"): ["EF", "af11", "CS7x", "BE", "CS8", "AF"],
    ("iprange", "src-range"): [
        "10.0.0.1-10.0.0.9",
        "10.0.0.9",
        "10.1-10.2",
        "2001:db8::1-2001:db8::9",
        "::1",
        "x-y",
        "1.1.1.1-",
    ],
    ("iprange", "dst-range"): ["10.0.0.1-10.0.0.9", "::-ffff::", "0.0.0.0-255.255.255.255"],
    ("pkttype", "pkt-type"): ["unicast", "HOST", "otherhost", "bcast", "MCAST", "mcas", "foo"],
    ("realm", "realm"): ["5", "0x5/0xff", "cosmos", "cosmos/1", "x", "5/"],
    ("devgroup", "src-group"): ["5", "0x5/0xff", "default", "x", "0/0"],
    ("devgroup", "dst-group"): ["5", "0", "default", "4294967296"],
    ("rateest", "rateest-bps1"): ["0x1f", "0X1fbit", "0x1p3", "1e3bit", "1.5kbit", "1ebit", ""],
    ("rateest", "rateest-bps2"): [
        "5kbit",
        "5KBIT",
        "5kibit",
        "5tbps",
        "5 bit",
        "inf",
        "1.bit",
        ".",
    ],
    ("rateest", "rateest-pps2"): ["5", "0x1f", "1e3", "", "4294967295", "4294967296", "5x"],
    ("set", "match-set"): ["foo src", "foo src,dst", "foo dst,dst,src", "foo", "foo x", "foo src,"],
    ("set", "set"): ["foo src", "foo src,dst,src,dst,src,dst,src"],
    ("SET", "add-set"): ["foo src", "foo src,dst", "foo", "foo x"],
    ("SET", "del-set"): ["foo src", "foo dst"],
    ("SET", "map-set"): ["foo src", "foo dst,src"],
    ("SET", "timeout"): ["5", "0", "4294967295", "x"],
    ("time", "timestart"): ["1:2", "23:59:59", "00:00", "24:00", "5", "12:"],
    ("time", "timestop"): ["1:2", "23:59:59", "0:0:0", "x"],
    ("time", "datestart"): [
        "2020",
        "2020-02-31",
        "2038-01-19T03:14:08",
        "1970",
        "2039",
        "2020-2-3T4:5:6",
        "2020-00",
    ],
    ("time", "datestop"): ["2020", "2038-01-19T03:14:07", "1970", "1969"],
    ("time", "monthdays"): ["1", "31,2,30", "0", "32", "012", "1-5", '""'],
    ("time", "weekdays"): ["Mon", "Tue,3", "Sunday,1", "0", "8", "mo", "Mon,"],
    ("u32", "u32"): [
        '"0=0"',
        '"6&0xFF=1 && 4&0x3FFF=0,5:9"',
        '"0>>22&0x3C@4<<1=1"',
        '"0"',
        '"0="',
        '"0=0&1"',
        '"0<<32=0"',
    ],
    ("string", "string"): [
        "abc",
        '"a b"',
        '"a\\"b"',
        '"a\\\\b"',
        '"a\\\\"',
        "é",
        '""',
        "|41|",
        "x" * 128,
        "x" * 129,
    ],
    ("string", "hex-string"): [
        '"|0a 0b|"',
        '"a|4142|b"',
        '"|4|"',
        '"|zz|"',
        '"a\\\\|b"',
        '"||"',
        "|",
        '""',
        '"| 41|"',
    ],
    ("string", "algo"): ["bm", "kmp", "fsm", "BM"],
    ("bpf", "bytecode"): [
        '"1,6 0 0 1"',
        '"2,48 0 0 9,6 0 0 0,"',
        '"1,6 0 0"',
        '"0,"',
        '"1,21 0 0 1"',
        '"2,6 0 0 1"',
    ],
    ("bpf", "object-pinned"): ["/nosuch"],
    ("sctp", "chunk-types"): [
        "any INIT",
        "all DATA:Be,ABORT:T",
        "only ALL",
        "any NONE",
        "ANY init,i_data:I",
        "foo DATA",
        "any foo",
        "any DATA:X",
        "all",
    ],
    ("dccp", "dccp-types"): ["ACK", "request,INVALID", "foo", '""'],
    ("policy", "dir"): ["in", "out", "both"],
    ("policy", "pol"): ["none", "ipsec", "foo"],
    ("policy", "proto"): ["esp", "51", "ipcomp", "tcp", "foo"],
    ("policy", "mode"): ["tunnel", "transport", "foo"],
    ("hashlimit", "hashlimit-upto"): [
        "7/sec",
        "90/min",
        "100/minute",
        "3/day",
        "5/h",
        "0/s",
        "1000001/s",
        "10b/s",
        "512kb/s",
        "5mb/s",
        "5mb/min",
        "7/week",
    ],
    ("hashlimit", "hashlimit-above"): ["1/s", "5/hour", "4096mb/s", "17b/s", "100kb/s", "x"],
    ("hashlimit", "hashlimit-burst"): ["1", "9", "0", "1000000", "1000001", "1mb", "600kb", "5x"],
    ("hashlimit", "hashlimit-mode"): ["srcip", "dstport,srcip", "srcip|dstip,", "none", ""],
    ("hashlimit", "hashlimit-name"): ["foo", "a.b", '""', "a/b", "x" * 254, "x" * 255],
    ("hashlimit", "hashlimit-srcmask"): ["24", "32", "0", "33", "129", "64", "255.0.0.0", "ff::"],
    ("hashlimit", "hashlimit-dstmask"): ["24", "128", "255.0.255.0", "x"],
    ("hashlimit", "hashlimit-htable-size"): ["0", "7", "2000000"],
    ("hashlimit", "hashlimit-htable-max"): ["0", "7", "2000000"],
    ("hashlimit", "hashlimit-htable-gcinterval"): ["0", "7", "1000"],
    ("hashlimit", "hashlimit-htable-expire"): ["0", "7", "1000", "60000"],
    ("hashlimit", "hashlimit-rate-interval"): ["0", "1", "7", "7x", "x"],
    ("connlimit", "connlimit-mask"): ["24", "0", "33", "64", "129", "255.255.0.0", "ff00::", "x"],
    ("connbytes", "connbytes"): ["5", "5:", ":5", "5:9", "9:5", "7:7", "", ":", "x", "1:2:3"],
    ("connbytes", "connbytes-dir"): ["original", "reply", "both", "orig"],
    ("connbytes", "connbytes-mode"): ["packets", "bytes", "avgpkt", "PACKETS"],
    ("connlabel", "label"): ["0", "127", "128", "0x10", "foo", ""],
    ("owner", "uid-owner"): ["root", "5", "5-9", "9-5", "5:6", "nobody", "nosuch", "4294967295"],
    ("owner", "gid-owner"): ["adm", "0", "0-4294967294", "users", "x-y", "-1"],
    ("cluster", "cluster-local-nodemask"): ["1", "6", "0", "0xffffffff", "x"],
    ("cgroup", "path"): ["/", '""'],
    ("osf", "genre"): ["Linux", '"a b"', '""', "x" * 40],
    ("icmp6", "icmpv6-type"): [
        "128",
        "1/4",
        "ping",
        "any",
        "256",
        "1/256",
        "neigh",
        "no-route",
        "",
    ],
    ("rt", "rt-0-addrs"): ["::1", "::1,2001:DB8::", "foo", "", "1.2.3.4"],
    ("rt", "rt-type"): ["0", "0", "0", "4", "4294967295"],
    ("hbh", "hbh-opts"): ["5", "5:2,6", "0,1", "0:1", "256", "5:", "", "5x", "-1"],
    ("dst", "dst-opts"): ["5", "5:255,6:0", "1,,2", ",".join(map(str, range(1, 18)))],
    ("ipv6header", "header"): ["hop,dst", "IPv6-Frag,none", "prot", "255", "tcp", "frag,", ","],
    ("mh", "mh-type"): ["5", "1:3", "brr:be", "be:brr", "b", "hot", ":7", "256", "foo"],
    ("srh", "srh-psid"): ["a::", "a::1/64", "::/0", "foo", "1.2.3.4"],
    ("srh", "srh-nsid"): ["a::", "a::1/ffff::", "a::/129"],
    ("srh", "srh-lsid"): ["a::/8", "::1"],
    ("SNPT", "src-pfx"): ["dead::/64", "dead::/48", "dead::1/64", "dead::", "::/0"],
    ("SNPT", "dst-pfx"): ["1c3::/64", "1c3::/65", "1c3::/ffff::"],
    ("DNPT", "src-pfx"): ["dead::/64", "dead::/33", "x"],
    ("DNPT", "dst-pfx"): ["1c3::/64", "1c3::/47"],
}


def samples(extension: str, option: Option) -> list[str]:
    """Values for an option; of two-word kinds the two words in one string."""
    special = SPECIAL.get((extension, option.name))
    if special is not None:
        return special
    return [*_samples(option.kind), *JUNK]


def _samples(kind: Kind[object]) -> list[str]:
    if isinstance(kind, Unsigned):
        edges = [kind.low - 1, kind.low, kind.low + 1, kind.high - 1, kind.high, kind.high + 1]
        return [*(str(edge) for edge in edges), "0x10", "010", " 7", "08"]
    if isinstance(kind, UnsignedRange):
        return ["5", "5:9", "5:", ":9", "9:5", "", ":", str(kind.high), f"{kind.high + 1}", "1:2:3"]
    if isinstance(kind, MaskedU32):
        return ["5", "0x5/0xff", "5/0xffffffff", "0", "0/0", "0xffffffff", "0x100000000", "1/2/3"]
    if isinstance(kind, Probability):
        return ["0", "1", "0.5", "0.33333333349", "1e-3", "1.1", ".5", "-0.1"]
    if isinstance(kind, Choice):
        return [*kind.words, *kind.synonyms, kind.words[0].upper(), kind.words[0][:2]]
    if isinstance(kind, (LooseHost, LooseHostMask)):
        return ADDRESSES
    if isinstance(kind, Mac):
        return ["00:11:22:33:44:55", "0:1:2:3:4:F", "00:11:22:33:44", "001122334455"]
    if isinstance(kind, Interface):
        return ["eth0", "eth+", "+", "x" * 15, "x" * 16]
    if isinstance(kind, (PortRange, ResolvedPorts)):
        return PORTS
    if isinstance(kind, Text):
        return TEXTS
    return ["1", "1:2", "NEW", "10.0.0.1", "lo", "mark"]


def quote(value: str) -> str:
    """Make a word of a value that is not yet quoted."""
    return '""' if not value else f'"{value}"' if value.startswith(" ") else value


def protocol_words(extension: Extension, rng: random.Random) -> str:
    names = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}
    if extension.protocols and rng.random() < 0.9:
        number = rng.choice(extension.protocols)
        return f"-p {names.get(number, number)} "
    return rng.choice(["", "-p tcp ", "-p udp ", "-p 6 ", "! -p tcp "])


def extension_words(extension: Extension, options: list[Option], rng: random.Random) -> str:
    words = []
    for option in options:
        bang = "! " if rng.random() < (0.35 if option.invertible else 0.05) else ""
        name = rng.choice([option.name, option.name, *option.aliases])
        if not option.kind.arity:
            words.append(f"{bang}--{name}")
        else:
            value = rng.choice(samples(extension.name, option))
            words.append(f"{bang}--{name} {quote(value)}")
    return " ".join(words)


def option_sets(extension: Extension, rng: random.Random) -> list[Option]:
    mandatory = [option for option in extension.options if option.mandatory]
    others = [option for option in extension.options if not option.mandatory]
    chosen = rng.sample(others, min(len(others), rng.choice([0, 1, 1, 1, 2, 2, 3])))
    if mandatory and rng.random() < 0.95:
        chosen += mandatory
    rng.shuffle(chosen)
    return chosen


def places(extension: Extension, rng: random.Random) -> tuple[str, str]:
    """A table and a chain, mostly where the extension may stand."""
    tables = extension.tables or ("filter", "mangle", "nat", "raw")
    table = rng.choice(tables) if rng.random() < 0.9 else rng.choice(["filter", "nat", "raw"])
    chains = {
        "filter": ["INPUT", "FORWARD", "OUTPUT"],
        "security": ["INPUT", "FORWARD", "OUTPUT"],
        "nat": ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
        "mangle": ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        "raw": ["PREROUTING", "OUTPUT"],
    }[table]
    good = [chain for chain in chains if chain in {hook.name for hook in extension.hooks}]
    return table, rng.choice(good if good and rng.random() < 0.9 else chains)


def generate(count: int, seed: int, family: Family = Family.IPV4, only: str = "") -> Iterator[str]:
    """Yield whole texts with one rule each."""
    rng = random.Random(seed)
    matches = [m for m in EXTENSIONS.matches if family in m.families and only in {"", m.name}]
    targets = [
        t
        for t in EXTENSIONS.targets
        if family in t.families and t.standard is None and only in {"", t.name}
    ]
    everything: list[tuple[str, Extension]] = [("-m", m) for m in matches]
    everything += [("-j", t) for t in targets]
    for number in range(count):
        flag, extension = everything[number % len(everything)]
        table, chain = places(extension, rng)
        words = extension_words(extension, option_sets(extension, rng), rng)
        body = f"{protocol_words(extension, rng)}{flag} {extension.name} {words}"
        if flag == "-m" and rng.random() < 0.3:
            body += " -j ACCEPT"
        yield f"*{table}\n:FOO - [0:0]\n-A {chain} {body}\nCOMMIT\n"


WHOLE_RULES = [
    "-s 10.1.2.3/8",
    "! -d 1.2.3.4",
    "-s 1.1.1.1,2.2.2.2/16",
    "-i eth0",
    "! -i eth+",
    "-o lo",
    "-i +",
    "-p tcp",
    "! -p udp",
    "-p 47",
    "-p all",
    "-f",
    "! -f",
    "-j ACCEPT",
    "-j FOO",
    "-g FOO",
    "-j RETURN",
    "-j NOSUCH",
    '-m comment --comment "a b"',
    "-m tcp --dport 5",
    "--sport 7",
    "--dport=9",
    "--syn",
    "-m udp",
    "-c 3 4",
    "!",
    "foo",
    "-m mark --mark 1",
    "--mark 3",
    "-m limit",
    "--limit 3/s",
    "--tcp-fl SYN SYN",
    "--dest 1.2.3.4",
    "--src 0/0",
    "-4",
    "-6",
    "-v",
    "--jump DROP",
    "-j DROP",
]


def generate_mixed(count: int, seed: int) -> Iterator[str]:
    """Yield rules of several parts in any order."""
    rng = random.Random(seed)
    for _ in range(count):
        parts = rng.sample(WHOLE_RULES, rng.randint(1, 5))
        chain = rng.choice(["INPUT", "OUTPUT", "FORWARD", "FOO", "INPUT"])
        yield f"*filter\n:FOO - [0:0]\n-A {chain} {' '.join(parts)}\nCOMMIT\n"


PIECES = [*"-!\"\\ \t:[]*#09xa,/+=\n\r.1'", "--", "! ", " -j ", " -m ", "  ", "é"]


def generate_mutated(texts: list[str], count: int, seed: int) -> Iterator[str]:
    """Yield texts with one or two places broken."""
    rng = random.Random(seed)
    for _ in range(count):
        text = rng.choice(texts)
        for _ in range(rng.randint(1, 2)):
            start = rng.randint(0, len(text))
            end = min(len(text), start + rng.choice([0, 0, 1, 1, 2, 5]))
            copied = rng.randint(0, len(text))
            piece = rng.choice(
                [rng.choice(PIECES), rng.choice(PIECES), "", text[copied : copied + 8]]
            )
            text = text[:start] + piece + text[end:]
        yield text


COMMANDS = [
    *["-A {chain} {rule}"] * 9,
    *("-I {chain} {rule}", "-I {chain} {number} {rule}", "-R {chain} {number} {rule}"),
    *("-D {chain} {number}", "-D {chain} {rule}", "-C {chain} {rule}", "-N {chain}", "-X {chain}"),
    *("-X", "-F {chain}", "-F", "-Z {chain}", "-Z", "-Z {chain} {number}", "-P {chain} DROP"),
    *("-P {chain} ACCEPT", "-E {chain} QUX", "-E {chain} BAR", ":{chain} - [0:0]", "# x", ""),
    *(":{chain} DROP [3:4]", ":{chain} ACCEPT [0:0]", "[5:6] -A {chain} {rule}"),
    *("-A {chain} -c 1 2 {rule}", "-6 -A {chain} {rule}", "-4 -A {chain} {rule}"),
    *("-A {chain} -4 {rule}", "-A {chain} -6 {rule}", "--append {chain} {rule}"),
    *("--ins {chain} {rule}", "--new {chain}", "--flush {chain}"),
]

SHORT_RULES = [
    *("-p tcp", "-p udp --dport 5", "-s 1.1.1.1", "-s 1.1.1.1,2.2.2.2", "-j ACCEPT", "-j DROP"),
    *("-j FOO", "-j BAR", "-g FOO", "-i eth0", "-m mark --mark 1", "-j RETURN", "-m limit", ""),
    *("-m comment --comment x", "-p tcp -j REJECT --reject-with tcp-reset", "-d 3.3.3.3 -j LOG"),
]


def generate_commands(count: int, seed: int) -> Iterator[str]:
    """Yield files of up to nine commands on few chains."""
    rng = random.Random(seed)
    chains = ["INPUT", "INPUT", "OUTPUT", "FORWARD", "FOO", "FOO", "BAR", "BAR", "BAZ"]
    for _ in range(count):
        lines = [":FOO - [0:0]", ":BAR - [0:0]"] if rng.random() < 0.8 else []
        lines += [
            rng.choice(COMMANDS).format(
                chain=rng.choice(chains), rule=rng.choice(SHORT_RULES), number=rng.randint(0, 4)
            )
            for _ in range(rng.randint(1, 9))
        ]
        yield "\n".join(["*filter", *lines, "COMMIT", ""])
