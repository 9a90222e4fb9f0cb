"""The target REJECT; the answers themselves are tested with ip/reject.py."""

from __future__ import annotations

import pytest

from netemu.netfilter.extensions import reject
from netemu.netfilter.hook import Hook, Verdict

CODES = [
    ("icmp-net-unreachable", 0),
    ("icmp-host-unreachable", 1),
    ("icmp-proto-unreachable", 2),
    ("icmp-port-unreachable", 3),
    ("icmp-net-prohibited", 9),
    ("icmp-host-prohibited", 10),
    ("icmp-admin-prohibited", 13),
]


@pytest.mark.parametrize("name, code", CODES)
def test_icmp_code(bench, skb, monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    sent: list[tuple[int, Hook]] = []
    monkeypatch.setattr(
        reject, "nf_send_unreach", lambda net, skb, code, hook: sent.append((code, hook))
    )
    packet = skb()
    assert bench.target(f"-j REJECT --reject-with {name}")(packet) == Verdict.DROP
    assert sent == [(code, Hook.FORWARD)]
    assert (packet.fate.verdict, packet.fate.reason) == ("REJECT", name)


def test_tcp_reset(bench, skb, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Hook] = []
    monkeypatch.setattr(reject, "nf_send_reset", lambda net, skb, hook: sent.append(hook))
    packet = skb(protocol=6)
    assert bench.target("-p tcp -j REJECT --reject-with tcp-reset")(packet) == Verdict.DROP
    assert sent == [Hook.FORWARD]
    assert packet.fate.reason == "tcp-reset"


def test_default_is_port_unreachable(bench) -> None:
    target = bench.rule("-j REJECT").target
    assert (target.settings.kind, target.settings.code) == ("icmp-port-unreachable", 3)
    assert target.text == "-j REJECT --reject-with icmp-port-unreachable"
