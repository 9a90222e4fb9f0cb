"""Parameters that follow from others; the values are those of a fresh namespace of 6.18."""

from __future__ import annotations

import pytest

from netemu.sysctl import Sysctl


@pytest.mark.parametrize(
    ("given", "redirects"),
    [
        ({}, True),
        ({"net.ipv4.ip_forward": "1"}, False),
        ({"net.ipv4.conf.all.forwarding": "1"}, False),
        ({"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.accept_redirects": "1"}, True),
    ],
)
def test_who_becomes_a_router_believes_no_redirects(given: dict[str, str], redirects: bool) -> None:
    sysctl = Sysctl(given)
    assert sysctl.conf("all", "accept_redirects") == redirects
    assert sysctl.conf("eth0", "accept_redirects") == 1
    assert sysctl.conf_and("eth0", "accept_redirects") == redirects
