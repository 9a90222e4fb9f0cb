"""`iptables -nvL` listings against what iptables-save says of the same rules.

Both columns were printed by iptables v1.8.9 (legacy) on Linux 6.18; tests/kernel asks again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netemu.errors import SnapshotError
from netemu.snapshot.document import Document
from netemu.snapshot.listing import table_text
from netemu.snapshot.read import read_node

Put = Callable[..., str]

HEAD = (
    "Chain INPUT (policy DROP 5 packets, 100 bytes)\n"
    " pkts bytes target     prot opt in     out     source               destination         \n"
)

RULES = """
 123M 9877K ACCEPT     0    --  lo     *       0.0.0.0/0            0.0.0.0/0           | [123000000:9877000] -A INPUT -i lo -j ACCEPT
    0     0 A-LONG-CHAIN-NAME-FOR-TEST28  6    --  *      *       0.0.0.0/0            0.0.0.0/0           | -A INPUT -p tcp -j A-LONG-CHAIN-NAME-FOR-TEST28
    0     0 REJECTME   6    --  *      *       0.0.0.0/0            0.0.0.0/0           [goto] | -A INPUT -p tcp -g REJECTME
    0     0            6    --  *      *       0.0.0.0/0            0.0.0.0/0            tcp spts:1:5 dpt:80 option=5 flags:0x17/0x02 | -A INPUT -p tcp -m tcp --sport 1:5 --dport 80 --tcp-option 5 --tcp-flags FIN,SYN,RST,ACK SYN
    0     0            6    --  *      *       0.0.0.0/0            0.0.0.0/0            tcp spt:!1 dpts:!80:90 flags:0x3F/0x00 | -A INPUT -p tcp -m tcp ! --sport 1 ! --dport 80:90 --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE
    0     0            6    --  *      *       0.0.0.0/0            0.0.0.0/0            tcp flags:!0x06/0x02 | -A INPUT -p tcp -m tcp ! --tcp-flags SYN,RST SYN
    0     0 ACCEPT     1    --  *      *       0.0.0.0/0            0.0.0.0/0            icmptype 3 code 4 | -A INPUT -p icmp -m icmp --icmp-type 3/4 -j ACCEPT
    0     0 ACCEPT     1    --  *      *       0.0.0.0/0            0.0.0.0/0            icmp !type 3 | -A INPUT -p icmp -m icmp ! --icmp-type 3 -j ACCEPT
    0     0 ACCEPT     1    --  *      *       0.0.0.0/0            0.0.0.0/0            icmptype 255 | -A INPUT -p icmp -m icmp --icmp-type any -j ACCEPT
    0     0 ACCEPT    !6    --  *      *       0.0.0.0/0            0.0.0.0/0           | -A INPUT ! -p tcp -j ACCEPT
    0     0 ACCEPT     tcp  --  *      *       0.0.0.0/0            0.0.0.0/0           | -A INPUT -p tcp -j ACCEPT
    0     0            all  -f  *      *       0.0.0.0/0            0.0.0.0/0           | -A INPUT -f
    0     0            0    !f  !eth+  br0     10.0.0.0/8          !10.0.0.1            | -A INPUT -s 10.0.0.0/8 ! -d 10.0.0.1 ! -i eth+ -o br0 ! -f
    0     0 ACCEPT     0    --  *      *       0.0.0.0/0            0.0.0.0/0            /* hello world */ ctstate RELATED,ESTABLISHED | -A INPUT -m comment --comment "hello world" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    0     0            0    --  *      *       0.0.0.0/0            0.0.0.0/0            ! ctstate INVALID,NEW ctorigdstport 2:3 ctdir REPLY | -A INPUT -m conntrack ! --ctstate INVALID,NEW --ctorigdstport 2:3 --ctdir REPLY
    0     0            0    --  *      *       0.0.0.0/0            0.0.0.0/0            ! state NEW,RELATED | -A INPUT -m state ! --state NEW,RELATED
    0     0            0    --  *      *       0.0.0.0/0            0.0.0.0/0            mark match ! 0x1/0xff | -A INPUT -m mark ! --mark 0x1/0xff
    0     0            0    --  *      *       0.0.0.0/0            0.0.0.0/0            connmark match  0x1/0xff | -A INPUT -m connmark --mark 0x1/0xff
    0     0            17   --  *      *       0.0.0.0/0            0.0.0.0/0            multiport sports  !80,443 | -A INPUT -p udp -m multiport ! --sports 80,443
    0     0 DOCKER     0    --  *      *       0.0.0.0/0            0.0.0.0/0            ADDRTYPE match src-type !LOCAL dst-type LOCAL limit-in | -A INPUT -m addrtype ! --src-type LOCAL --dst-type LOCAL --limit-iface-in -j DOCKER
    0     0            0    --  *      *       0.0.0.0/0            0.0.0.0/0            statistic mode random ! probability 0.50000000000 | -A INPUT -m statistic --mode random ! --probability 0.50000000000
    0     0            0    --  *      *       0.0.0.0/0            0.0.0.0/0            statistic mode nth every 3 packet 1 | -A INPUT -m statistic --mode nth --every 3 --packet 1
    0     0            0    --  *      *       0.0.0.0/0            0.0.0.0/0            recent: UPDATE seconds: 60 hit_count: 4 TTL-Match name: X side: source mask: 255.255.255.255 | -A INPUT -m recent --update --seconds 60 --hitcount 4 --rttl --name X --mask 255.255.255.255 --rsource
    0     0            0    --  *      *       0.0.0.0/0            0.0.0.0/0            ! recent: CHECK seconds: 60 reap name: DEFAULT side: dest mask: 255.255.0.0 | -A INPUT -m recent ! --rcheck --seconds 60 --reap --name DEFAULT --mask 255.255.0.0 --rdest
    0     0            0    --  *      *       0.0.0.0/0            0.0.0.0/0            limit: avg 3/min burst 5 | -A INPUT -m limit --limit 3/min --limit-burst 5
    0     0            0    --  *      *       0.0.0.0/0            0.0.0.0/0            PHYSDEV match --physdev-is-in ! --physdev-in eth0 ! --physdev-out eth1 | -A INPUT -m physdev --physdev-is-in ! --physdev-in eth0 ! --physdev-out eth1
    0     0            0    --  *      *       0.0.0.0/0            0.0.0.0/0            MAC ! 02:00:00:00:00:01 | -A INPUT -m mac ! --mac-source 02:00:00:00:00:01
    0     0 LOG        0    --  *      *       0.0.0.0/0            0.0.0.0/0            LOG flags 15 level 7 prefix "hi there: " | -A INPUT -j LOG --log-prefix "hi there: " --log-level 7 --log-tcp-sequence --log-tcp-options --log-ip-options --log-uid
    0     0 LOG        0    --  *      *       0.0.0.0/0            0.0.0.0/0            LOG flags 0 level 4 | -A INPUT -j LOG
    0     0 REJECT     6    --  *      *       0.0.0.0/0            0.0.0.0/0            tcp dpt:1 reject-with tcp-reset | -A INPUT -p tcp -m tcp --dport 1 -j REJECT --reject-with tcp-reset
    0     0 DNAT       6    --  *      *       0.0.0.0/0            0.0.0.0/0            to:10.0.0.1-10.0.0.5:80-90 random persistent | -A INPUT -p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.5:80-90 --random --persistent
    0     0 SNAT       6    --  *      *       0.0.0.0/0            0.0.0.0/0            to:10.0.0.1:5-9 random-fully | -A INPUT -p tcp -j SNAT --to-source 10.0.0.1:5-9 --random-fully
    0     0 REDIRECT   17   --  *      *       0.0.0.0/0            0.0.0.0/0            redir ports 8080-8090 random | -A INPUT -p udp -j REDIRECT --to-ports 8080-8090 --random
    0     0 MASQUERADE  6    --  *      *       0.0.0.0/0            0.0.0.0/0            masq ports: 1024-2048 random | -A INPUT -p tcp -j MASQUERADE --to-ports 1024-2048 --random
    0     0 MASQUERADE  0    --  *      *       0.0.0.0/0            0.0.0.0/0            mark match 0x4000/0x4000 random-fully | -A INPUT -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
    0     0 MARK       0    --  *      *       0.0.0.0/0            0.0.0.0/0            MARK set 0x1 | -A INPUT -j MARK --set-xmark 0x1/0xffffffff
    0     0 MARK       0    --  *      *       0.0.0.0/0            0.0.0.0/0            MARK xset 0x1/0xff | -A INPUT -j MARK --set-xmark 0x1/0xff
    0     0 MARK       0    --  *      *       0.0.0.0/0            0.0.0.0/0            MARK xor 0x4000 | -A INPUT -j MARK --set-xmark 0x4000/0x0
    0     0 MARK       0    --  *      *       0.0.0.0/0            0.0.0.0/0            MARK and 0xffff0000 | -A INPUT -j MARK --set-xmark 0x0/0xffff
    0     0 MARK       0    --  *      *       0.0.0.0/0            0.0.0.0/0            MARK or 0x4 | -A INPUT -j MARK --set-xmark 0x4/0x4
    0     0 CONNMARK   0    --  *      *       0.0.0.0/0            0.0.0.0/0            CONNMARK save mask 0xff | -A INPUT -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff
    0     0 CONNMARK   0    --  *      *       0.0.0.0/0            0.0.0.0/0            CONNMARK restore ctmask 0xff nfmask ~0xf0 | -A INPUT -j CONNMARK --restore-mark --nfmask 0xf0 --ctmask 0xff
    0     0 CONNMARK   0    --  *      *       0.0.0.0/0            0.0.0.0/0            CONNMARK restore | -A INPUT -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
    0     0 CT         17   --  *      *       0.0.0.0/0            0.0.0.0/0            udp dpt:53 CT notrack | -A INPUT -p udp -m udp --dport 53 -j CT --notrack
""".strip().splitlines()


def listed(text: str, table: str = "filter") -> str:
    return table_text(Document(name="sos/list", text=text, command="iptables -nvL"), table)


@pytest.mark.parametrize("row", RULES)
def test_a_rule(row: str) -> None:
    line, saved = row.rsplit(" | ", 1)
    counters = "" if saved.startswith("[") else "[0:0] "
    assert listed(f"{HEAD}{line}\n").splitlines()[2] == counters + saved


def test_a_table() -> None:
    text = HEAD + "\nChain DOCKER (2 references)\n pkts bytes target     prot opt in\n"
    assert listed(text, "nat") == "*nat\n:INPUT DROP [5:100]\n:DOCKER - [0:0]\nCOMMIT\n"


def test_an_unknown_phrase_is_refused() -> None:
    line = (
        "    0     0 ACCEPT     0    --  *      *       0.0.0.0/0            0.0.0.0/0"
        "            owner UID match 1337"
    )
    with pytest.raises(SnapshotError, match="cannot read this part of a listing") as caught:
        listed(f"{HEAD}{line}\n")
    assert (caught.value.file, caught.value.line, caught.value.column) == ("sos/list", 3, 90)


@pytest.mark.parametrize("line", ["iptables: No chain", "  0 0 ACCEPT tcp -- eth0"])
def test_what_is_no_listing(line: str) -> None:
    with pytest.raises(SnapshotError, match="no line of `iptables -nvL`"):
        listed(f"{HEAD}{line}\n")


def test_a_sosreport_with_listings(put: Put) -> None:
    drop = (
        "    0     0 DROP       0    --  *      *       0.0.0.0/0            0.0.0.0/0           \n"
    )
    path = put(
        {
            "sos_commands/networking/ip_-o_addr": "1: lo    inet 127.0.0.1/8 scope host lo\\\n",
            "sos_commands/firewall_tables/iptables_-vnxL": HEAD + drop,
            "sos_commands/firewall_tables/iptables_-t_nat_-nvL": HEAD,
        }
    )
    spec = read_node(path)
    assert spec.main.rules4 is not None
    assert spec.main.rules4.text == (
        "*nat\n:INPUT DROP [5:100]\nCOMMIT\n"
        "*filter\n:INPUT DROP [5:100]\n[0:0] -A INPUT -j DROP\nCOMMIT\n"
    )
    assert any("rebuilt from `iptables -nvL` listings" in note for note in spec.notes)
