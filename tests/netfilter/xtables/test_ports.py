"""Ports and lists of names as iptables 1.8.9 reads them (asked)."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import OptionCall, Span
from netemu.netfilter.xtables.ports import NameList, PortRange, ResolvedPorts, parse_port

CALL = OptionCall("tcp", "sport")


@pytest.mark.parametrize(
    "text, span, printed",
    [
        ("80", Span(80, 80), "80"),
        ("0x50", Span(80, 80), "80"),
        ("http:https", Span(80, 443), "80:443"),
        ("1024:", Span(1024, 65535), "1024:65535"),
        (":5", Span(0, 5), "0:5"),
        (":", Span(0, 65535), "0:65535"),
    ],
)
def test_port_ranges(text, span, printed):
    kind = PortRange("tcp")
    assert span == kind.parse(text, CALL)
    assert printed == kind.show(span)


@pytest.mark.parametrize("text", ["", "nosuch", "65536", "-1", "tftp", "1:2:3"])
def test_no_port(text):
    with pytest.raises(RulesetError, match="invalid port/service"):
        PortRange("tcp").parse(text, CALL)


def test_a_range_must_not_fall():
    with pytest.raises(RulesetError, match=r"invalid portrange \(min > max\)"):
        PortRange("tcp").parse("5:3", CALL)


def test_services_belong_to_a_transport():
    assert (parse_port("domain", "udp"), parse_port("tftp", "udp")) == (53, 69)


@pytest.mark.parametrize(
    "text, printed",
    [("http", "80"), ("070", "70"), ("70000", "4464"), ("5:3", "5:3"), ("", "0"), (":", "0:65535")],
)
def test_ports_that_the_c_library_resolves(text, printed):
    """udp and conntrack take what getaddrinfo makes of a port."""
    kind = ResolvedPorts()
    assert printed == kind.show(kind.parse(text, CALL))


@pytest.mark.parametrize("text", ["0x50", "nosuch", "-5", "4294967295", "12345678901", "5 "])
def test_ports_that_do_not_resolve(text):
    with pytest.raises(RulesetError, match="does not resolve to anything"):
        ResolvedPorts().parse(text, CALL)


def test_too_many_parts():
    with pytest.raises(RulesetError, match="Too many components"):
        ResolvedPorts().parse("1:2:3", CALL)


def test_lists_of_names_or_their_bits():
    kind = NameList({"NEW": 8, "ESTABLISHED": 2, "ALL": 10}, shown={"ESTABLISHED": 2, "NEW": 8})
    assert kind.show(kind.parse("new,Established", CALL)) == "ESTABLISHED,NEW"
    assert kind.parse("all", CALL) == 10
    with pytest.raises(RulesetError, match="it takes ESTABLISHED, NEW"):
        kind.parse("NEW,", CALL)


def test_lists_that_know_case():
    kind = NameList({"new": 1}, fold_case=False, bad="Unknown event type")
    with pytest.raises(RulesetError, match="Unknown event type `NEW'"):
        kind.parse("NEW", CALL)
