"""Hash types: which packets are in, what a full table does, what time does."""

from __future__ import annotations

import pytest

from tests.netfilter.ipset.asking import Sets

UDP = "udp 10.1.2.3:1000 > 10.0.0.9:53"
ECHO = "icmp 10.1.2.3 > 10.0.0.9 echo id=1 seq=1"


@pytest.mark.parametrize(
    ("kind", "element", "directions"),
    [
        ("hash:ip", "10.1.2.3", "src"),
        ("hash:ip netmask 24", "10.1.2.77", "src"),
        ("hash:ip bitmask 255.0.0.255", "10.99.99.3", "src"),
        ("hash:ip,port", "10.0.0.9,udp:53", "dst,dst"),
        ("hash:ip,port", "10.1.2.3,udp:1000", "src,src"),
        ("hash:ip,port,ip", "10.0.0.9,udp:53,10.1.2.3", "dst,dst,src"),
        ("hash:ip,port,net", "10.0.0.9,udp:53,10.1.0.0/16", "dst,dst,src"),
        ("hash:net", "10.1.0.0/16", "src"),
        ("hash:net,port", "10.0.0.0/8,udp:53", "dst,dst"),
        ("hash:net,iface", "10.0.0.0/8,eth0", "src,src"),
        ("hash:net,iface", "0.0.0.0/0,eth0", "src,src"),
        ("hash:net,net", "10.1.0.0/16,10.0.0.0/24", "src,dst"),
        ("hash:net,port,net", "10.1.0.0/16,udp:53,0.0.0.0/0", "src,dst,dst"),
        ("hash:mac", "02:00:00:00:00:02", "dst"),
        ("hash:ip,mac", "10.0.0.9,02:00:00:00:00:02", "dst,dst"),
        ("hash:ip,mark", "10.1.2.3,0", "src,src"),
    ],
)
def test_a_packet_is_in_the_set(kind, element, directions):
    sets = Sets(f"create a {kind}\nadd a {element}\n")
    assert sets.test("a", directions, UDP)
    sets.read("flush a\n")
    assert not sets.test("a", directions, UDP)


def test_icmp_counts_type_and_code_as_port_whatever_the_direction():
    sets = Sets("create a hash:ip,port\nadd a 10.0.0.9,icmp:echo-request\n")
    assert sets.test("a", "dst,src", ECHO)
    assert sets.test("a", "dst,dst", ECHO)


def test_the_longest_network_decides():
    """10.1/16 is an exception of 10/8."""
    sets = Sets("create a hash:net\nadd a 10.0.0.0/8\nadd a 10.1.0.0/16 nomatch\n")
    assert sets.test("a", "dst", UDP)
    assert not sets.test("a", "src", UDP)
    assert sets.test("a", "src", UDP, return_nomatch=True)
    assert not sets.test("a", "dst", UDP, return_nomatch=True)


def test_a_network_with_another_device_hides_the_shorter_ones():
    text = "create a hash:net,iface\nadd a 10.0.0.0/8,eth0\nadd a 10.1.0.0/16,eth1\n"
    assert not Sets(text).test("a", "src,src", UDP)


def test_the_beginning_of_a_device_name():
    sets = Sets("create a hash:net,iface\nadd a 10.0.0.0/8,eth wildcard\nadd a 10.1.0.0/16,et\n")
    assert sets.test("a", "dst,src", UDP)
    assert not sets.test("a", "src,src", UDP)


def test_too_few_directions_or_the_other_family_never_match():
    sets = Sets("create a hash:ip,port\nadd a 10.0.0.9,udp:53\ncreate b hash:ip family inet6\n")
    assert not sets.test("a", "dst", UDP)
    assert not sets.test("b", "dst", UDP)


def test_a_packet_is_counted_by_the_lookup_unless_it_must_not():
    sets = Sets("create a hash:ip counters\nadd a 10.0.0.9 packets 2 bytes 100\n")
    length = len(sets.packet(UDP).skb.data)
    assert sets.test("a", "dst", UDP)
    assert sets.test("a", "dst", UDP, skip_counters=True)
    assert sets.elements("a") == [f"10.0.0.9 packets 3 bytes {100 + length}"]


def test_what_a_rule_adds_begins_with_its_packet_counted():
    sets = Sets("create a hash:ip counters timeout 60\n")
    length = len(sets.packet(UDP).skb.data)
    assert sets.add("a", "src", UDP, timeout_s=5) == ""
    assert sets.elements("a") == [f"10.1.2.3 timeout 5 packets 1 bytes {length}"]
    assert sets.add("a", "src", UDP) == "EXIST"
    assert sets.add("a", "src", UDP, exist=True) == ""
    assert sets.elements("a") == [f"10.1.2.3 timeout 60 packets 1 bytes {length}"]
    assert sets.delete("a", "src", UDP) == ""
    assert sets.delete("a", "src", UDP) == "MISSING"


def test_a_rule_leaves_the_comment_alone_where_a_command_clears_it():
    """So does Linux 6.18, but for bitmaps, whose comments go."""
    sets = Sets('create a hash:ip comment\nadd a 10.1.2.3 comment "one"\n')
    sets.add("a", "src", UDP, exist=True)
    assert sets.elements("a") == ['10.1.2.3 comment "one"']
    sets.read("add a 10.1.2.3 -exist\n")
    assert sets.elements("a") == ["10.1.2.3"]
    bits = Sets('create a bitmap:ip range 10.1.0.0/16 comment\nadd a 10.1.2.3 comment "one"\n')
    bits.add("a", "src", UDP, exist=True)
    assert bits.elements("a") == ["10.1.2.3"]


def test_a_rule_adds_networks_of_the_longest_length_there_is():
    sets = Sets("create a hash:net\nadd a 192.168.0.0/16\nadd a 192.168.9.0/24\n")
    sets.add("a", "src", UDP)
    assert "10.1.2.0/24" in sets.elements("a")


def test_an_element_expires_and_may_be_added_anew():
    sets = Sets("create a hash:ip timeout 2\nadd a 10.0.0.9\nadd a 10.1.2.3 timeout 0\n")
    sets.wait(2)
    assert sets.test("a", "dst", UDP)
    sets.wait(0.01)
    assert not sets.test("a", "dst", UDP)
    assert sets.elements("a") == ["10.1.2.3 timeout 0"]
    assert sets.sets.need("a").content.elements == 1
    sets.read("add a 10.0.0.9\n")
    assert sets.test("a", "dst", UDP)


def test_a_full_set_takes_nothing_from_a_rule_and_says_so_in_the_log():
    sets = Sets("create a hash:ip maxelem 1\nadd a 10.0.0.9\n")
    assert sets.add("a", "src", UDP) == "HASH_FULL"
    assert sets.net.log == ["Set a is full, maxelem 1 reached"]


def test_a_full_bucket_takes_nothing_from_a_rule_but_a_command_doubles_the_table():
    """With this initval 10.1.2.3 shares a bucket with two others."""
    sets = Sets("create a hash:ip initval 5 hashsize 64 bucketsize 2\nadd a 10.2.0.0/26\n")
    size = sets.sets.need("a").head().hashsize
    refused = [
        number
        for number in range(256)
        if sets.add("a", "src", f"udp 10.3.0.{number}:1 > 10.0.0.9:53") == "EAGAIN"
    ]
    assert refused
    assert sets.sets.need("a").head().hashsize == size
    sets.read(f"add a 10.3.0.{refused[0]}\n")
    assert sets.sets.need("a").head().hashsize == 2 * size
