"""Comments that suppress findings, and what is said about the comments themselves."""

from __future__ import annotations

import pytest

from tests.lint.cases import findings_of

BAD = "-A INPUT -o eth0 -j ACCEPT"


def codes(*lines: str, **settings: object) -> list[str]:
    text = "\n".join(["*filter", *lines, "COMMIT", ""])
    return [one.code for one in findings_of(text, **settings) if one.code[:3] in {"NE0", "NE9"}]


@pytest.mark.parametrize(
    "lines, expected",
    [
        ([BAD], ["NE012"]),
        (["# netemu: ignore=NE012 as it is", BAD], []),
        (["# netemu: ignore=NE012", BAD], ["NE902"]),
        (["# netemu: ignore=NE012 as it is", "# more words", "", BAD], []),
        (["# netemu: ignore=NE0 the whole family", BAD], []),
        (["# netemu: ignore=NE011,NE012 both", BAD], ["NE901"]),
        (["# netemu: ignore=NE012 as it is", BAD, BAD], ["NE012"]),
        ([BAD, "# netemu: ignore=NE012 too late"], ["NE012", "NE901"]),
        ([f'-A INPUT -m comment --comment "netemu: ignore=NE012 why" {BAD[9:]}'], []),
        (["# netemu: ignore=NE011 another", BAD], ["NE901", "NE012"]),
        (["# netemu: ignore why", BAD], ["NE903", "NE012"]),
        (["# netemu: ingore=NE012 why", BAD], ["NE903", "NE012"]),
        (["# netemu: ignore=NE999 why", BAD], ["NE903", "NE012"]),
        (["# netemu is a linter", BAD], ["NE012"]),
    ],
)
def test_comments(lines: list[str], expected: list[str]) -> None:
    assert codes(*lines) == expected


def test_rules_that_were_not_run_leave_suppressions_unjudged() -> None:
    lines = ("# netemu: ignore=NE012 why", "-A INPUT -j ACCEPT")
    assert codes(*lines) == ["NE901"]
    assert codes(*lines, ignore=("NE012",)) == []


def test_what_needs_the_whole_file_is_not_judged_where_the_file_would_not_load() -> None:
    assert codes("# netemu: ignore=NE801 why", "-A INPUT -j ACCEPT", "-A INPUT -q") == ["NE003"]
