"""The targets CT and NOTRACK."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.conntrack.connection import IPS_TEMPLATE, CtInfo, nf_ct_get
from netemu.netfilter.conntrack.core import ConntrackHooks
from netemu.netfilter.conntrack.zones import nf_ct_zone_tmpl
from netemu.netfilter.helpers import nf_conntrack_helpers_init

RAW = {"table": "raw", "chain": "PREROUTING"}


@pytest.mark.parametrize("text", ["-j NOTRACK", "-j CT --notrack"])
def test_untracked(bench, skb, text: str) -> None:
    packet = skb()
    assert bench.target(text, **RAW)(packet) is None
    assert nf_ct_get(packet) == (None, CtInfo.UNTRACKED)
    assert bench.net.generic(ConntrackHooks).users == 0


@pytest.mark.parametrize("text", ["-j NOTRACK", "-j CT --notrack", "-j CT --zone 5"])
def test_too_late_for_a_tracked_or_untracked_packet(
    bench, tracked, connection, skb, text: str
) -> None:
    entry = connection()
    packet = tracked(entry, CtInfo.ESTABLISHED)
    bench.target(text, **RAW)(packet)
    assert nf_ct_get(packet) == (entry, CtInfo.ESTABLISHED)
    untracked = skb()
    bench.target("-j NOTRACK", **RAW)(untracked)
    bench.target(text, **RAW)(untracked)
    assert nf_ct_get(untracked) == (None, CtInfo.UNTRACKED)


@pytest.mark.parametrize(
    "options, zone",
    [
        ("--zone 5", (5, 3)),
        ("--zone-orig 5", (5, 1)),
        ("--zone-reply 5", (5, 2)),
        ("--zone-orig 5 --zone-reply 6", (6, 3)),
        ("--zone 5 --zone-reply 6", (6, 2)),
        ("--zone mark", (0x1234, 3)),
        ("--zone-orig mark", (0x1234, 1)),
        ("", (0, 3)),
        ("--ctevents new", (0, 3)),
    ],
)
def test_template_names_the_zone(bench, skb, options: str, zone: tuple[int, int]) -> None:
    packet = skb()
    packet.mark = 0x51234
    assert bench.target(f"-j CT {options}", **RAW)(packet) is None
    template, ctinfo = nf_ct_get(packet)
    assert template.status & IPS_TEMPLATE
    assert ctinfo == CtInfo.NEW
    found = nf_ct_zone_tmpl(template, packet)
    assert (found.id, found.directions) == zone
    assert bench.net.generic(ConntrackHooks).users == 1


def test_other_helpers_can_be_read_but_not_run(bench) -> None:
    with pytest.raises(RulesetError, match="helper `pptp' is not emulated"):
        bench.rule("-p tcp -j CT --helper pptp", **RAW)
    assert bench.rule("-p tcp -j CT --helper pptp --notrack", **RAW).target.settings.notrack


def test_template_names_the_helper(bench, skb) -> None:
    nf_conntrack_helpers_init(bench.net)
    packet = skb()
    assert bench.target("-p tcp -j CT --helper ftp", **RAW)(packet) is None
    template, _ = nf_ct_get(packet)
    assert template.helper == "ftp"
