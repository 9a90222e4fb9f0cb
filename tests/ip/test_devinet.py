"""Which address speaks for a device (inet_select_addr of Linux 6.18)."""

from __future__ import annotations

from typing import Any

import pytest

from netemu.ip.devinet import (
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    Addresses,
    IfAddr,
    inet_addr_onlink,
    inet_select_addr,
    scope_number,
)
from netemu.wire.address import IPV4_ANY, format_address, parse_address


def address(lab: Any, device: str, text: str, length: int = 24, scope: int = 0) -> IfAddr:
    packed = parse_address(text)
    return IfAddr(
        device=lab.net.devices[device],
        local=packed,
        address=packed,
        prefix_len=length,
        broadcast=b"",
        scope=scope,
    )


def select(lab: Any, device: str, dst: str, scope: int = RT_SCOPE_UNIVERSE) -> str:
    chosen = inet_select_addr(lab.net, lab.net.devices[device], parse_address(dst), scope)
    return format_address(chosen)


def test_the_address_of_the_subnet_wins_then_the_first(lab: Any) -> None:
    lab.net.generic(Addresses).insert(address(lab, "a0", "10.5.0.1"))
    assert select(lab, "a0", "10.5.0.9") == "10.5.0.1"
    assert select(lab, "a0", "8.8.8.8") == "10.1.0.1"
    assert select(lab, "a0", "0.0.0.0") == "10.1.0.1"


def test_a_secondary_address_is_never_chosen(lab: Any) -> None:
    entries = lab.net.generic(Addresses).of(lab.net.devices["a0"])
    assert [format_address(entry.local) for entry in entries] == ["10.1.0.1", "10.1.0.9"]
    assert select(lab, "a0", "10.1.0.9") == "10.1.0.1"


def test_a_device_without_address_borrows_one_but_not_of_link_or_host_scope(lab: Any) -> None:
    addresses = lab.net.generic(Addresses)
    addresses.of(lab.net.devices["b0"]).clear()
    assert select(lab, "b0", "10.2.0.9") == "10.1.0.1"
    addresses.of(lab.net.devices["a0"]).clear()
    assert select(lab, "b0", "10.2.0.9") == "0.0.0.0"
    assert select(lab, "b0", "10.2.0.9", RT_SCOPE_HOST) == "127.0.0.1"


def test_scope_host_reaches_link_with_route_localnet(lab: Any) -> None:
    assert select(lab, "lo", "127.0.0.9", RT_SCOPE_LINK) == "10.1.0.1"
    lab.net.sysctl.set("net.ipv4.conf.lo.route_localnet", "1")
    assert select(lab, "lo", "127.0.0.9", RT_SCOPE_LINK) == "127.0.0.1"


def test_narrower_scopes_stand_before_wider_ones(lab: Any) -> None:
    """As `ip addr add` on Linux 6.18 ordered them; the last but one it refused."""
    addresses = lab.net.generic(Addresses)
    given = [
        ("10.5.0.1", 253),
        ("10.6.0.1", 0),
        ("10.7.0.1", 253),
        ("10.8.0.1", 254),
        ("10.5.0.2", 0),
        ("10.9.0.1", 200),
    ]
    taken = [addresses.insert(address(lab, "b0", text, scope=scope)) for text, scope in given]
    assert taken == [True, True, True, True, False, True]
    entries = addresses.of(lab.net.devices["b0"])
    assert [format_address(entry.local) for entry in entries] == [
        "10.8.0.1",
        "10.5.0.1",
        "10.7.0.1",
        "10.9.0.1",
        "10.2.0.1",
        "10.6.0.1",
    ]


def test_two_addresses_on_one_link(lab: Any) -> None:
    device = lab.net.devices["a0"]
    near, far = parse_address("10.1.0.7"), parse_address("10.2.0.7")
    assert inet_addr_onlink(lab.net, device, near, parse_address("10.1.0.8"))
    assert inet_addr_onlink(lab.net, device, near, IPV4_ANY)
    assert not inet_addr_onlink(lab.net, device, near, far)


@pytest.mark.parametrize("text,number", [("global", 0), ("site", 200), ("host", 254), ("7", 7)])
def test_words_of_scopes(text: str, number: int) -> None:
    assert scope_number(text) == number
