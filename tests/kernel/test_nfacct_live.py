"""Named counters count what the live kernel's count."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from netemu.net import Net
from netemu.netfilter.extensions.nfacct import Accounts
from netemu.netfilter.hook import Family, Hook
from netemu.netfilter.xtables.param import XtParam
from netemu.ruleset import parse_ruleset
from netemu.skb import ETH_P_IP, Fate, Skb
from tests.kernel.iptables_oracle import missing

WHY_NOT = missing()

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "everything is there"),
]

NAMES = ("web", "x" * 31, "a b.c")
RULES = [f'-A OUTPUT -p udp -m nfacct --nfacct-name "{name}"' for name in NAMES]
RULES.append("-A OUTPUT -p udp -m length --length 100: -m nfacct --nfacct-name web")
SIZES = (0, 1, 100, 1000)

CHILD = r"""
import json, socket, struct, subprocess, sys
names, rules, sizes = json.load(sys.stdin)
def ask(kind, flags, name):
    # NFNL_SUBSYS_ACCT 7; NFNL_MSG_ACCT_NEW 0, GET 1; NFACCT_NAME 1, PKTS 2, BYTES 3
    octets = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(octets), 1) + octets + bytes(-len(octets) % 4)
    body = bytes(4) + attribute
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(body), 7 << 8 | kind, flags, 1, 0) + body)
        return netlink.recv(65536)[20:]
def counters(name):
    answer, found = ask(1, 1, name), {}
    while len(answer) >= 4:
        length, kind = struct.unpack_from("=HH", answer)
        found[kind & 0x3FFF] = answer[4:length]
        answer = answer[length + 3 & ~3:]
    return [int.from_bytes(found[kind], "big") for kind in (2, 3)]
for name in names:
    ask(0, 0x405, name)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
text = "\n".join(["*filter", *rules, "COMMIT", ""])
subprocess.run(["iptables-legacy-restore"], input=text, text=True, check=True)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for size in sizes:
    sender.sendto(bytes(size), ("127.0.0.1", 9))
show = ["iptables-legacy-save", "-t", "filter"]
saved = subprocess.run(show, capture_output=True, text=True).stdout
lines = [line for line in saved.splitlines() if line.startswith("-A")]
print(json.dumps([[counters(name) for name in names], lines]))
"""


def test_packets_and_octets():
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", CHILD],
        input=json.dumps([NAMES, RULES, SIZES]),
        capture_output=True,
        text=True,
        check=True,
    )
    net = Net()
    ruleset = parse_ruleset("\n".join(["*filter", *RULES, "COMMIT", ""]))
    rules = ruleset.tables[0].chains["OUTPUT"].rules
    for rule in rules:
        for match in rule.matches:
            if match.attach is not None:
                match.attach(net, match.settings)
    param = XtParam(net=net, family=Family.IPV4, hook=Hook.OUTPUT, in_device=None, out_device=None)
    for size in SIZES:
        length = 28 + size
        header = b"\x45\0" + length.to_bytes(2, "big") + bytes(5) + b"\x11" + bytes(10)
        skb = Skb(header + bytes(8 + size), protocol=ETH_P_IP, fate=Fate(packet_id=1))
        for rule in rules:
            all(match.evaluate(match.settings, skb, param) for match in rule.matches)
    counted = net.generic(Accounts).by_name
    ours = [[counted[name].packets, counted[name].octets] for name in NAMES]
    counters, saved = json.loads(done.stdout)
    assert counters == ours
    assert saved == [f"-A OUTPUT {rule.text}" for rule in rules]
