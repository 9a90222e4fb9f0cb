"""`ipset list`, as ipset 7.17 on Linux 6.18.44 printed it."""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.ipset.core import IpSets
from netemu.ruleset.ipset import print_listing, read_sets

TEXT = """\
create a hash:ip initval 0xab25c566
add a 1.1.1.0/30
create b hash:ip,port comment counters initval 0x26427ee4
add b 1.1.1.1,80-81 comment "x y"
create p bitmap:port range 0-10
add p 3-4
create l list:set
add l a
"""

LISTED = """\
Name: a
Type: hash:ip
Revision: 6
Header: family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0xab25c566
Size in memory: 376
References: 1
Number of entries: 4
Members:
1.1.1.1
1.1.1.3
1.1.1.2
1.1.1.0

Name: b
Type: hash:ip,port
Revision: 7
Header: family inet hashsize 1024 maxelem 65536 counters comment bucketsize 12 initval 0x26427ee4
Size in memory: 448
References: 0
Number of entries: 2
Members:
1.1.1.1,tcp:80 packets 0 bytes 0 comment "x y"
1.1.1.1,tcp:81 packets 0 bytes 0 comment "x y"

Name: p
Type: bitmap:port
Revision: 3
Header: range 0-10
Size in memory: 80
References: 0
Number of entries: 2
Members:
3
4

Name: l
Type: list:set
Revision: 3
Header: size 8
Size in memory: 128
References: 0
Number of entries: 1
Members:
a
"""


def test_sets_are_listed_as_ipset_lists_them():
    sets = Net().generic(IpSets)
    read_sets(TEXT, "sets", sets)
    assert print_listing(sets) == LISTED
