"""SET is read, and refused where it would run."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from tests.netfilter.extensions.targets import apply, udp


def test_no_node_runs_it():
    with pytest.raises(RulesetError, match="no set `banned'"):
        apply("-j SET --add-set banned src --exist", udp())
