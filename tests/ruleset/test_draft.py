"""What a rule gives to its extensions while it is read."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.extensions import EXTENSIONS
from netemu.ruleset.draft import Loaded, canonical_option


def loaded(name: str) -> Loaded:
    extension = EXTENSIONS.find_match(name) or EXTENSIONS.find_target(name)
    assert extension is not None
    return Loaded(extension, 1)


def test_a_spelling_is_converted_and_kept_under_its_canonical_name():
    said = loaded("MARK")
    option = said.extension.find("or-mark")
    assert option is not None
    said.add(option, 4, inverted=False)
    assert list(said.given) == ["set-xmark"]
    assert said.given["set-xmark"].option is canonical_option(said.extension, option)
    assert said.order[0].option is option


def test_what_may_be_given_is_asked_first():
    said = loaded("mark")
    option = said.extension.find("mark")
    assert option is not None
    said.admit(option, inverted=True)
    said.add(option, 1, inverted=True)
    with pytest.raises(RulesetError, match="can only be used once"):
        said.admit(option, inverted=False)
