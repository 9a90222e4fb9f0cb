"""xt_set: rules are read, and refused when a node is to run them."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.net import Net
from tests.netfilter.extensions.packets import match


def test_a_node_refuses_the_rule():
    with pytest.raises(RulesetError, match="asks for IP set `KUBE-X', and netemu has no IP sets"):
        match("-m set --match-set KUBE-X dst,dst", Net())
