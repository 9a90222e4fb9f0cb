"""Services and protocols of Debian's netbase."""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu.netfilter.xtables import names


def rows(path: str) -> list[str]:
    lines = [line.split("#")[0].split() for line in Path(path).read_text("utf-8").splitlines()]
    return [" ".join(line) for line in lines if line]


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="needs Debian's netbase")
def test_the_shipped_lists_hold_what_debian_ships():
    """A newer netbase may add names; it must not contradict ours."""
    for line in rows("/etc/protocols"):
        name, number, *_ = line.split()
        assert names.protocol_number(name) in {None, int(number)}
    first: dict[tuple[str, str], int] = {}
    for line in rows("/etc/services"):
        name, port, *aliases = line.split()
        number, _, transport = port.partition("/")
        for known in (name, *aliases):
            first.setdefault((known, transport), int(number))
    for (name, transport), number in first.items():
        assert names.service_port(name, transport) in {None, number}


def test_aliases_and_transports():
    assert names.service_port("mail", "tcp") == 25
    assert names.service_port("tftp", "tcp") is None
    assert names.service_port("tftp") == 69
    assert names.service_port("nosuch") is None


def test_protocol_names_print_as_debian_orders_them():
    """Asked of iptables-save: `-p mh` prints mobility-header, `-p icmpv6` ipv6-icmp."""
    assert [names.protocol_name(number) for number in (6, 135, 58, 4, 99)] == [
        "tcp",
        "mobility-header",
        "ipv6-icmp",
        "ipencap",
        "99",
    ]
    assert [names.protocol_number(name) for name in ("mh", "icmpv6", "all", "OSPFIGP".lower())] == [
        135,
        58,
        0,
        None,
    ]
