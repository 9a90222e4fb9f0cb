"""ULOG is refused by every kernel that is left."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from tests.netfilter.extensions.packets import rule


def test_refusal():
    with pytest.raises(RulesetError, match="NFLOG"):
        rule("-j ULOG --ulog-nlgroup 1")
