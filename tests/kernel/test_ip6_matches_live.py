"""Matches on IPv6 headers decide as the live kernel's do, packet by packet."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from netemu.net import Net
from netemu.netfilter.conntrack.core import nf_ct_netns_get
from netemu.netfilter.hook import Family, Hook
from netemu.netfilter.xtables.ip6 import Missing, ipv6_find_hdr
from netemu.netfilter.xtables.model import Invert, Rule
from netemu.netfilter.xtables.param import XtParam
from netemu.ruleset import parse_ruleset
from netemu.skb import ETH_P_IPV6, Fate, Skb
from netemu.wire.address import format_address, parse_address
from tests.kernel.iptables_oracle import missing

WHY_NOT = missing()

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "everything is there"),
]

SENDER = bytes.fromhex("020000000101")
EUI64 = parse_address("fe80::ff:fe00:101")
A, B = parse_address("2001:db8::1"), parse_address("2001:db8::2")
UDP = bytes.fromhex("03e80035000c0000") + b"data"
HOP, ROUTING, FRAGMENT, ESP, AH, ICMP6, NONE, DEST, MH = 0, 43, 44, 50, 51, 58, 59, 60, 135


def ip6(following: int, payload: bytes, source: bytes = A) -> bytes:
    start = b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + bytes([following, 64])
    return start + source + B + payload


def options(following: int, *parts: bytes) -> bytes:
    """A hop-by-hop or destination options header, padded with PadN."""
    body = b"".join(parts)
    room = -(len(body) + 2) % 8
    body += b"" if not room else b"\0" if room == 1 else bytes([1, room - 2]) + bytes(room - 2)
    return bytes([following, (len(body) + 2) // 8 - 1]) + body


def routing(following: int, kind: int, left: int, *hops: str, reserved: bytes = bytes(4)) -> bytes:
    body = reserved + b"".join(parse_address(hop) for hop in hops)
    return bytes([following, len(hops) * 2, kind, left]) + body


def segments(following: int, left: int, tag: int, *hops: str, last: int | None = None) -> bytes:
    entry = len(hops) - 1 if last is None else last
    return routing(following, 4, left, *hops, reserved=bytes([entry, 0]) + tag.to_bytes(2, "big"))


def fragment(following: int, word: int, number: int = 7, reserved: int = 0) -> bytes:
    return bytes([following, reserved]) + word.to_bytes(2, "big") + number.to_bytes(4, "big")


def auth(following: int, spi: int, octets: int = 24, reserved: int = 0) -> bytes:
    start = bytes([following, octets // 4 - 2]) + reserved.to_bytes(2, "big")
    return start + spi.to_bytes(4, "big") + bytes(octets - 8)


def mobility(kind: int, following: int = NONE) -> bytes:
    return bytes([following, 0, kind, 0, 0, 0, 0, 0])


def icmp6(kind: int, code: int) -> bytes:
    return bytes([kind, code, 0, 0, 0, 0, 0, 0])


PACKETS = [
    ip6(17, UDP),
    ip6(17, UDP, EUI64),
    ip6(ICMP6, icmp6(128, 0)),
    ip6(ICMP6, icmp6(1, 4) + ip6(17, UDP)),
    ip6(ICMP6, icmp6(255, 9)),
    ip6(ICMP6, icmp6(128, 0)[:4]),
    ip6(DEST, options(ICMP6) + icmp6(129, 0)),
    ip6(HOP, options(17) + UDP),
    ip6(HOP, options(17, b"\x05\x02\0\0") + UDP),
    ip6(DEST, options(17, b"\x05\x02\0\0") + UDP),
    ip6(DEST, options(17, b"\0\x1e\x03abc") + UDP),
    ip6(DEST, options(17, b"\x1e\x03abc", b"\x1f\x00", b"\0") + UDP),
    ip6(DEST, options(17, b"\x1e\xffabcd") + UDP),
    ip6(HOP, options(DEST) + options(17, b"\x1e\x01a") + UDP),
    ip6(DEST, b"\x11\x09\x1e\x03" + UDP),
    ip6(DEST, b"\x11"),
    ip6(DEST, b""),
    ip6(NONE, b""),
    ip6(DEST, options(NONE)),
    ip6(ROUTING, routing(17, 0, 1, "::1", "::2") + UDP),
    ip6(ROUTING, routing(17, 0, 0, "::1", "::5", "::2") + UDP),
    ip6(ROUTING, routing(17, 0, 0, "::2", "::1") + UDP),
    ip6(ROUTING, routing(17, 0, 0, "::1", "::2", reserved=b"\0\0\0\1") + UDP),
    ip6(ROUTING, routing(17, 2, 1, "2001:db8::9") + UDP),
    ip6(ROUTING, routing(17, 0, 0) + UDP),
    ip6(ROUTING, b"\x11\x04\0\0" + bytes(8)),
    ip6(ROUTING, b"\x11\x00\0"),
    ip6(ROUTING, segments(17, 1, 1, "a::", "b::", "c::") + UDP),
    ip6(ROUTING, segments(17, 2, 256, "a::", "b::", "c::") + UDP),
    ip6(ROUTING, segments(6, 0, 0x1234, "a::1", "b::") + bytes(20)),
    ip6(ROUTING, segments(17, 3, 1, "a::", "b::") + UDP),
    ip6(ROUTING, segments(17, 1, 1, "a::", last=5) + UDP),
    ip6(FRAGMENT, fragment(17, 0x0001) + UDP),
    ip6(FRAGMENT, fragment(17, 0x0008, 8) + UDP),
    ip6(FRAGMENT, fragment(17, 0x0009, 9, reserved=1) + UDP),
    ip6(FRAGMENT, fragment(17, 0x0007, 0xFFFFFFFF) + UDP),
    ip6(FRAGMENT, fragment(ICMP6, 0x0001) + icmp6(128, 0)),
    ip6(FRAGMENT, fragment(ICMP6, 0x0010) + icmp6(128, 0)),
    ip6(FRAGMENT, fragment(DEST, 0x0010) + options(17) + UDP),
    ip6(FRAGMENT, fragment(MH, 0x0010) + mobility(5)),
    ip6(FRAGMENT, fragment(17, 0)[:3]),
    ip6(FRAGMENT, fragment(17, 0)[:6]),
    ip6(AH, auth(17, 5) + UDP),
    ip6(AH, auth(17, 9, 12, reserved=1) + UDP),
    ip6(AH, auth(17, 5)[:10]),
    ip6(ESP, bytes.fromhex("0000000500000001") + bytes(16)),
    ip6(HOP, options(AH) + auth(ESP, 5) + bytes(16)),
    ip6(HOP, options(ROUTING) + routing(FRAGMENT, 2, 0) + fragment(17, 1) + UDP),
    ip6(MH, mobility(0)),
    ip6(MH, mobility(5)),
    ip6(MH, mobility(7, following=17)),
    ip6(MH, mobility(5)[:5]),
    ip6(DEST, options(MH) + mobility(3)),
    ip6(ESP, b"\0"),
]

GROUPS: dict[str, list[str]] = {
    "hl": [
        *("-m hl --hl-eq 64", "-m hl ! --hl-eq 64", "-m hl --hl-eq 63", "-m hl ! --hl-eq 63"),
        *("-m hl --hl-lt 64", "-m hl --hl-lt 65", "-m hl --hl-gt 63", "-m hl --hl-gt 64"),
    ],
    "icmp6": [
        "-p ipv6-icmp -m icmp6 --icmpv6-type 128",
        "-p ipv6-icmp -m icmp6 ! --icmpv6-type 128",
        "-p ipv6-icmp -m icmp6 --icmpv6-type 1/4",
        "-p ipv6-icmp -m icmp6 --icmpv6-type 255",
        "-p ipv6-icmp -m icmp6 ! --icmpv6-type 1/3",
    ],
    "rt": [
        "-m rt",
        "-m rt --rt-type 0",
        "-m rt ! --rt-type 0",
        "-m rt --rt-type 4",
        "-m rt --rt-segsleft 1:2",
        "-m rt ! --rt-segsleft 1",
        "-m rt --rt-len 40",
        "-m rt ! --rt-len 40",
        "-m rt --rt-type 0 --rt-0-res",
        "-m rt --rt-type 0 --rt-0-addrs ::1,::2",
        "-m rt --rt-type 0 --rt-0-addrs ::1,::2 --rt-0-not-strict",
        "-m rt --rt-type 0 --rt-0-addrs ::1 --rt-0-not-strict",
        "-m rt --rt-type 0 --rt-0-addrs ::1",
    ],
    "frag": [
        "-m frag",
        "-m frag --fragid 7:8",
        "-m frag ! --fragid 7",
        "-m frag --fraglen 3",
        "-m frag --fragres",
        "-m frag --fragfirst",
        "-m frag --fragmore",
        "-m frag --fraglast",
        "-m frag --fragfirst --fraglast --fragres",
    ],
    "hbh": [
        "-m hbh",
        "-m hbh --hbh-len 8",
        "-m hbh ! --hbh-len 8",
        "-m hbh --hbh-opts 5",
        "-m hbh --hbh-opts 5:2",
        "-m hbh --hbh-opts 5:3",
        "-m hbh --hbh-opts 1",
        "-m hbh --hbh-opts 1:4,5",
    ],
    "dst": [
        "-m dst",
        "-m dst --dst-len 8",
        "-m dst ! --dst-len 16",
        "-m dst --dst-opts 5:2",
        "-m dst --dst-opts 0,30:3",
        "-m dst --dst-opts 0,30",
        "-m dst --dst-opts 30",
        "-m dst --dst-opts 30:3,31:0,0",
        "-m dst --dst-opts 30:3,31,0,1",
        "-m dst --dst-opts 30:1",
    ],
    "ah": [
        "-m ah",
        "-m ah --ahspi 5",
        "-m ah ! --ahspi 5:8",
        "-m ah --ahlen 24",
        "-m ah ! --ahlen 24",
        "-m ah --ahlen 0",
        "-m ah --ahres",
    ],
    "eui64": ["-m eui64"],
    "ipv6header": [
        *(
            f"-m ipv6header {word} {headers}{soft}"
            for word in ("--header", "! --header")
            for headers in ("hop,prot", "dst", "dst,prot", "none", "frag,prot", "ah,prot", "esp")
            for soft in ("", " --soft")
        ),
        "-m ipv6header --header hop,route,frag,prot",
        "-m ipv6header --header hop,auth,esp",
        "-m ipv6header --header prot --soft",
        "-m ipv6header --header route,prot",
    ],
    "mh": [
        "-p ipv6-mh -m mh",
        "-p ipv6-mh -m mh --mh-type 5",
        "-p ipv6-mh -m mh ! --mh-type 3:5",
    ],
    "srh": [
        "-m srh",
        "-m srh --srh-next-hdr 17",
        "-m srh ! --srh-next-hdr 17",
        *(
            f"-m srh {bang}--srh-{field}-{word} {number}"
            for bang in ("", "! ")
            for field, number in (("hdr-len", 6), ("segs-left", 1), ("last-entry", 2))
            for word in ("eq", "gt", "lt")
        ),
        "-m srh --srh-tag 1",
        "-m srh --srh-tag 256",
        "-m srh ! --srh-tag 0x3412",
        "-m srh --srh-psid c::/16",
        "-m srh ! --srh-psid c::",
        "-m srh --srh-nsid a::",
        "-m srh ! --srh-nsid b::",
        "-m srh --srh-lsid a::/64",
        "-m srh ! --srh-lsid a::",
    ],
    "recent-hashlimit-quota": [
        "-m recent --set --name ext --mask ffff:ffff::",
        "-m recent --rcheck --name ext --rdest",
        "-m recent --rcheck --rttl --hitcount 3 --name ext",
        "-m hashlimit --hashlimit-upto 1/day --hashlimit-burst 1 --hashlimit-name e "
        "--hashlimit-mode srcip,srcport --hashlimit-srcmask 64",
        "-m hashlimit --hashlimit-upto 1/day --hashlimit-burst 1 --hashlimit-name f "
        "--hashlimit-mode dstport",
        "-m quota --quota 1000",
    ],
    "addrtype": [
        "-m addrtype --src-type UNICAST",
        "-m addrtype --src-type MULTICAST",
        "-m addrtype --dst-type UNSPEC",
        "-m addrtype ! --src-type UNICAST,MULTICAST",
    ],
}

CHILD = """
import json, socket, subprocess, sys, time
packets, table, chain, rules = json.load(sys.stdin)
def run(*words, text=None):
    return subprocess.run(words, input=text, capture_output=True, text=True, check=True).stdout
for name in ("all", "default"):
    open(f"/proc/sys/net/ipv6/conf/{name}/accept_dad", "w").write("0")
run("ip", "link", "add", "here", "type", "veth", "peer", "name", "there")
open("/proc/sys/net/ipv6/conf/here/disable_ipv6", "w").write("1")
run("ip", "link", "set", "here", "up")
run("ip", "link", "set", "there", "up")
run("ip", "-6", "addr", "add", "2001:db8::2/64", "dev", "there", "nodad")
mac = bytes.fromhex(open("/sys/class/net/there/address").read().strip().replace(":", ""))
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind(("here", 0))
lines = ["*" + table, f"-A {chain} ! -i there -j DROP", f"-A {chain}"]
lines += [f"-A {chain} {rule}" for rule in rules] + ["COMMIT", ""]
run("ip6tables-legacy-restore", text=chr(10).join(lines))
def counters():
    saved = run("ip6tables-legacy-save", "-c", "-t", table)
    found = [int(l[1:].split(":")[0]) for l in saved.splitlines() if "-A " + chain in l]
    return found[1:]
time.sleep(0.1)
before, answer = counters(), []
for packet in packets:
    sock.send(mac + bytes.fromhex("020000000101") + bytes.fromhex("86dd" + packet))
    for _ in range(5):
        after = counters()
        if after[0] != before[0]:
            break
        time.sleep(0.01)
    answer.append([b - a for a, b in zip(before, after)])
    before = after
print(json.dumps(answer))
"""


def ask_kernel(
    rules: list[str],
    packets: list[bytes] = PACKETS,
    table: str = "raw",
    chain: str = "PREROUTING",
) -> list[list[int]]:
    """Say for each packet what each rule counted; the first counter is that of all packets."""
    done = subprocess.run(
        ["unshare", "-n", "--mount", "sh", "-c", 'mount -t sysfs s /sys; exec "$0" -c "$1"',
         sys.executable, CHILD],
        input=json.dumps([[packet.hex() for packet in packets], table, chain, rules]),
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: list[list[int]] = json.loads(done.stdout)
    return answer


class Emulated:
    """The rules in netemu, asked packet by packet as ip6t_do_table does."""

    def __init__(self, rules: list[str]) -> None:
        self.net = Net()
        nf_ct_netns_get(self.net)
        lines = "\n".join(f"-A PREROUTING {rule}" for rule in rules)
        ruleset = parse_ruleset(f"*raw\n{lines}\nCOMMIT\n", "r", family=Family.IPV6)
        self.rules = ruleset.tables[0].chains["PREROUTING"].rules
        for rule in self.rules:
            for match in rule.matches:
                if match.attach is not None:
                    match.attach(self.net, match.settings)

    def counts(self, packet: bytes) -> list[int]:
        skb = Skb(packet, protocol=ETH_P_IPV6, fate=Fate(packet_id=1))
        skb.mac_header = bytes(6) + SENDER + b"\x86\xdd"
        param = XtParam(
            net=self.net, family=Family.IPV6, hook=Hook.PREROUTING, in_device=None, out_device=None
        )
        asked = (not param.hotdrop and self._matches(rule, skb, param) for rule in self.rules)
        return [1, *map(int, asked)]

    def _matches(self, rule: Rule, skb: Skb, param: XtParam) -> bool:
        protocol = rule.generic.protocol
        if protocol:
            found = ipv6_find_hdr(skb.data)
            if isinstance(found, Missing):
                param.hotdrop = found.malformed
                return False
            param.thoff, param.fragoff = found.offset, found.fragoff
            inverted = bool(rule.generic.invert & Invert.PROTO)
            if (found.protocol == protocol) == inverted:
                return False
        return all(
            match.evaluate(match.settings, skb, param)
            for match in rule.matches
            if not param.hotdrop
        )


@pytest.mark.parametrize("name", GROUPS)
def test_matches_as_the_kernel(name: str) -> None:
    rules = GROUPS[name]
    emulated = Emulated(rules)
    seen = 0
    for packet, expected in zip(PACKETS, ask_kernel(rules), strict=True):
        if not expected[0]:
            continue  # dropped before the tables
        seen += 1
        counted = emulated.counts(packet)
        wrong = [
            f"{rule}: kernel {theirs}, netemu {ours}"
            for rule, theirs, ours in zip(rules, expected[1:], counted[1:], strict=True)
            if theirs != ours
        ]
        assert not wrong, packet.hex() + "\n" + "\n".join(wrong)
    assert seen > len(PACKETS) // 2


PREFIXES = [
    ("2001:db8::/48", "fd01:203:405::/48"),
    ("2001:db8::/64", "fd01:203:405:607::/64"),
    ("2001:db8::/32", "fd01:203::/48"),
    ("2001:db8::/64", "2001:db8::/64"),
    ("2001:db8::/33", "fd01:203:8000::/33"),
]
SUFFIXES = ["::2", "::ffff:0:0:2", "::ffff:ffff:0:2", "::1:2:3:4", "::ffff:ffff:ffff:ffff"]


def translated(target: str, chain: str, prefixes: tuple[str, str], packet: bytes) -> bytes | None:
    """What netemu makes of a packet; None when it drops it."""
    words = f"-A {chain} -j {target} --src-pfx {prefixes[0]} --dst-pfx {prefixes[1]}"
    ruleset = parse_ruleset(f"*mangle\n{words}\nCOMMIT\n", "r", family=Family.IPV6)
    bound = ruleset.tables[0].chains[chain].rules[0].target
    assert bound is not None
    skb = Skb(packet, protocol=ETH_P_IPV6, fate=Fate(packet_id=1))
    param = XtParam(
        net=Net(), family=Family.IPV6, hook=Hook[chain], in_device=None, out_device=None
    )
    return None if bound.apply(bound.settings, skb, param) is not None else bytes(skb.data)


def suffixed(suffix: str) -> bytes:
    return parse_address("2001:db8::")[:8] + parse_address(suffix)[8:]


@pytest.mark.parametrize("prefixes", PREFIXES)
def test_prefixes_are_translated_as_by_the_kernel(prefixes: tuple[str, str]) -> None:
    """The kernel finds the translated address in the rule behind; a drop leaves it alone."""
    for target, chain, at in (("DNPT", "PREROUTING", 24), ("SNPT", "INPUT", 8)):
        for suffix in SUFFIXES:
            address = suffixed(suffix)
            source, destination = (A, address) if target == "DNPT" else (address, B)
            packet = ip6(17, UDP, source)[:24] + destination + UDP
            made = translated(target, chain, prefixes, packet)
            side = "-d" if target == "DNPT" else "-s"
            wanted = format_address(made[at : at + 16]) if made is not None else "::"
            rules = [
                f"-j {target} --src-pfx {prefixes[0]} --dst-pfx {prefixes[1]}",
                f"{side} {wanted}" if made is not None else "-p all",
            ]
            answer = ask_kernel(rules, [packet], "mangle", chain)
            assert answer == [[1, 1, int(made is not None)]], (target, suffix, wanted)


@pytest.mark.parametrize(
    "words", ["set 9", "set 0", "inc 5", "inc 255", "dec 63", "dec 64", "dec 255"]
)
def test_hop_limits_are_changed_as_by_the_kernel(words: str) -> None:
    """The rule behind the target finds the hop limit that netemu makes of 64."""
    rule = f"-j HL --hl-{words}"
    ruleset = parse_ruleset(f"*mangle\n-A PREROUTING {rule}\nCOMMIT\n", family=Family.IPV6)
    target = ruleset.tables[0].chains["PREROUTING"].rules[0].target
    assert target is not None
    skb = Skb(PACKETS[0], protocol=ETH_P_IPV6, fate=Fate(packet_id=1))
    param = XtParam(
        net=Net(), family=Family.IPV6, hook=Hook.PREROUTING, in_device=None, out_device=None
    )
    assert target.apply(target.settings, skb, param) is None
    behind = f"-m hl --hl-eq {skb.data[7]}"
    assert ask_kernel([rule, behind], PACKETS[:1], "mangle") == [[1, 1, 1]]
