"""Redaction: consistent, prefix-preserving, and what must survive does."""

from __future__ import annotations

import ipaddress
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.snapshot.redact import KEPT, Redactor
from netemu.wire.address import format_address, in_prefix, parse_address

KEY = bytes(32)
v4 = st.binary(min_size=4, max_size=4)
v6 = st.binary(min_size=15, max_size=15).map(lambda rest: b"\x2a" + rest)
subnets = st.sets(st.tuples(v4, st.integers(8, 30)), max_size=3)


def redactor() -> Redactor:
    return Redactor(key=KEY, names=["web1.example.com", "web1"])


def shared_bits(one: bytes, other: bytes) -> int:
    difference = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return len(one) * 8 - difference.bit_length()


def kept(address: bytes) -> bool:
    return any(in_prefix(address, *prefix) for prefix in KEPT)


@given(pair=st.one_of(st.tuples(v4, v4), st.tuples(v6, v6)))
def test_prefixes_are_preserved(pair: tuple[bytes, bytes]) -> None:
    one, other = (redactor().address(address) for address in pair)
    assert shared_bits(*pair) == shared_bits(one, other)


@given(address=v4 | v6)
def test_public_stays_public_and_private_stays(address: bytes) -> None:
    renamed = redactor().address(address)
    assert kept(address) == kept(renamed)
    if kept(address):
        assert address == renamed


def test_another_key_gives_other_addresses() -> None:
    address = parse_address("93.184.216.34")
    assert redactor().address(address) != Redactor(key=b"x" * 32).address(address)
    assert redactor().address(address) != address


@pytest.mark.parametrize(
    "text",
    [
        "10.1.2.3 172.16.0.1 192.168.0.1 127.0.0.53 169.254.1.1 100.64.0.1 224.0.0.251",
        "255.255.255.255 0.0.0.0 198.51.100.7 fe80::1 fd00::1 ::1 ff02::1 2001:db8::5",
        '"mac":"33:33:00:00:00:01" "bridge_id":"8000.5e:cd:9e:78:a2:4a" id 0:1:2:3',
        ":INPUT ACCEPT [12:345]",
        "iptables-save v1.8.9 12:34:56 999.1.1.1 1.2.3.4.5",
    ],
)
def test_what_stays(text: str) -> None:
    assert text == redactor().file("ip_-j_addr_show", text)


def test_every_place_of_an_address_changes_alike() -> None:
    text = '"93.184.216.34" -d 93.184.216.34/32 src=93.184.216.34 93.184.216.34:80 ::ffff:93.184.216.34'
    new = redactor().file("x", text)
    renamed = format_address(redactor().address(parse_address("93.184.216.34")))
    assert text.replace("93.184.216.34", renamed) == new


def test_networks_keep_their_host_bits_zero() -> None:
    new = redactor().file("x", "-s 93.184.0.0/15 -d 2a00:1450::/32")
    network, other = re.findall(r"-[sd] (\S+)", new)
    assert ipaddress.ip_network(network).prefixlen == 15
    assert ipaddress.ip_network(other).prefixlen == 32


def test_broadcasts_of_own_subnets_stay_broadcasts() -> None:
    record = {"local": "93.184.216.5", "prefixlen": 20, "broadcast": "93.184.223.255"}
    files = {
        "ip_-j_addr_show": json.dumps([{"addr_info": [record]}], separators=(",", ":")),
        "ip_-j_route_show_table_all": '[{"dst":"93.184.208.0/20"},{"gateway":"93.184.216.1"}]',
    }
    new = redactor().files(files)
    address = json.loads(new["ip_-j_addr_show"])[0]["addr_info"][0]
    network = ipaddress.ip_network(f"{address['local']}/20", strict=False)
    assert network != ipaddress.ip_network("93.184.208.0/20")
    assert address["broadcast"] == str(network.broadcast_address)
    routes = json.loads(new["ip_-j_route_show_table_all"])
    assert routes[0]["dst"] == str(network)
    assert ipaddress.ip_address(routes[1]["gateway"]) in network


def test_ranges_stay_ranges() -> None:
    text = "--to-source 93.184.216.17-93.184.216.30"
    low, high = (
        ipaddress.ip_address(part)
        for part in redactor().files({"f": text})["f"].split()[1].split("-")
    )
    assert int(high) - int(low) == 13


def test_comments_but_not_directives() -> None:
    text = (
        '-A I -m comment --comment "payroll db" -j DROP\n'
        "-A I -m comment --comment payroll -j DROP\n"
        '-A O -m comment --comment "payroll db" -j DROP\n'
        '-A O -m comment --comment "netemu: ignore=NE101" -j DROP\n'
        'add s 10.0.0.1 comment "payroll db"\n'
    )
    new = redactor().file("iptables-save_-c", text)
    assert "payroll" not in new
    assert '"netemu: ignore=NE101"' in new
    labels = re.findall(r'comment ("?comment-[0-9a-f]{8}"?)', new)
    assert len(labels) == 4
    assert labels[0] == labels[2] == labels[3] != labels[1]


def test_host_names() -> None:
    text = "# on web1.example.com and web1, not web10\n"
    assert redactor().file("x", text) == "# on host1 and host2, not web10\n"


def test_the_machines_own_secrets_go() -> None:
    text = (
        "kernel.hostname = db7\nkernel.random.boot_id = 1-2\nnet.ipv4.ip_forward = 1\n"
        "net.ipv6.conf.all.stable_secret = 1::\nnet.ipv4.tcp_fastopen_key = 0-0\n"
    )
    new = redactor().files({"sysctl_-a": text, "manifest": "db7 here"})
    assert new["sysctl_-a"] == "net.ipv4.ip_forward = 1\n"
    assert "db7" not in new["manifest"]
