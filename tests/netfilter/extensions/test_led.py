"""LED tells which light."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.events import RecordSent
from netemu.net import Net
from tests.netfilter.extensions.packets import rule
from tests.netfilter.extensions.targets import apply, heard, udp


def test_record():
    net = Net()
    events = heard(net)
    assert apply("-j LED --led-trigger-id ssh", udp(), net=net) is None
    assert events == [RecordSent(to="led netfilter-ssh", text="")]


@pytest.mark.parametrize(
    "delay, printed",
    [("100", " --led-delay 100"), ("0", ""), ("INFinite", " --led-delay -1")],
)
def test_delay(delay, printed):
    found = rule(f"-j LED --led-always-blink --led-trigger-id a.b --led-delay {delay}")
    assert found.text == f'-j LED --led-trigger-id "a.b"{printed} --led-always-blink'


@pytest.mark.parametrize(
    "words", ["", "--led-trigger-id x --led-delay 1s", "--led-trigger-id " + "x" * 17]
)
def test_refusals(words):
    with pytest.raises(RulesetError):
        rule(f"-j LED {words}")
