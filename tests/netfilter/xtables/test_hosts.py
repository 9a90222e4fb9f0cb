"""Addresses and masks as getaddrinfo and xtopt_parse_plenmask read them."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.hosts import LooseHost, LooseHostMask, inet_aton
from netemu.netfilter.xtables.kinds import OptionCall

CALL = OptionCall(extension="x", option="y")
CALL6 = OptionCall(extension="x", option="y", family=Family.IPV6)


@pytest.mark.parametrize(
    "text, octets",
    [
        ("1.2.3.4", "01020304"),
        ("1.2.3", "01020003"),
        ("1.131844", "01020304"),
        ("16909060", "01020304"),
        ("0x1.02.3.010", "01020308"),
        ("1.2.3.256", None),
        ("256.1", None),
        ("4294967296", None),
        ("1.2.3.4.5", None),
        ("host", None),
    ],
)
def test_inet_aton(text: str, octets: str | None) -> None:
    found = inet_aton(text)
    assert (found.hex() if found else None) == octets


@pytest.mark.parametrize(
    "text, shown",
    [
        ("10.1.2.3/8", "10.1.2.3/8"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3/32", "10.1.2.3"),
        ("10.1.2.3/255.255.0.0", "10.1.2.3/16"),
        ("10.1.2.3/255.0.255.0", "10.1.2.3"),
        ("10.1.2.3/33", "10.1.2.3"),
        ("10.1.2.3/0", "10.1.2.3/0"),
    ],
)
def test_masks(text: str, shown: str) -> None:
    """A mask with gaps and one that is too long become full masks (iptables 1.8.9)."""
    assert LooseHostMask().show(LooseHostMask().parse(text, CALL)) == shown


@pytest.mark.parametrize("text", ["10.1.2.3/foo", "10.1.2.3/", "foo/8", "::1", "10.0.0.1,10.0.0.2"])
def test_refused(text: str) -> None:
    with pytest.raises(RulesetError):
        LooseHostMask().parse(text, CALL)


def test_ipv6() -> None:
    assert LooseHost().show(LooseHost().parse("fe80::1", CALL6)) == "fe80::1"
    assert LooseHostMask().show(LooseHostMask().parse("fe80::1/64", CALL6)) == "fe80::1/64"
    with pytest.raises(RulesetError):
        LooseHost().parse("10.0.0.1", CALL6)
