"""One-liners about lint rules: `catches("NE008", "-A INPUT -j NOWHERE")`.

Lines are separated by `; `. A text that does not begin with `*` is in table filter; COMMIT is
written in front of the next table and at the end; `:web` declares a chain, `:INPUT DROP` sets a
policy.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from netemu.lint.engine import look
from netemu.lint.finding import Finding
from netemu.lint.settings import LintSettings
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Family
from netemu.sim.spec import TextFile
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes
from netemu.snapshot.scan import family_of


class Case(NamedTuple):
    code: str
    text: str
    line: int | None
    """Of the finding in the expanded text; None: any."""
    found: bool
    why: str = ""


def catches(code: str, text: str, line: int | None = None) -> Case:
    return Case(code, text, line, True)


def passes(code: str, text: str, why: str = "") -> Case:
    return Case(code, text, None, False, why)


def expand(text: str) -> str:
    """Return the file that a one-liner stands for."""
    if "\n" in text:
        return text
    lines: list[str] = []
    for line in text.split("; "):
        if line.startswith("*"):
            lines += ["COMMIT"] * bool(lines)
        elif not lines:
            lines.append("*filter")
        if re.fullmatch(r":\S+", line):
            line = f"{line} - [0:0]"
        elif re.fullmatch(r":\S+ \S+", line):
            line = f"{line} [0:0]"
        lines.append(line)
    return "\n".join([*lines, "COMMIT", ""])


IPSETS = """\
create services hash:ip,port
add services 192.0.2.1,tcp:80
create blocked6 hash:ip family inet6
add blocked6 2001:db8::1
create blocked hash:ip
"""


def findings_of(text: str, code: str = "ALL", **more: object) -> list[Finding]:
    """Lint a text with one rule, or all; rules that name sets have IPSETS."""
    family = Family.IPV6 if family_of(text) == 6 else Family.IPV4
    named = re.match(r"# (/\S+)\n", text)
    file = TextFile(name=named[1] if named else "x.rules", text=text)
    node = bare_node(file, Changes())
    if "-set " in text:
        node.main.ipset = TextFile(name="sets", text=IPSETS)
    subject = Subject(text, file.name, family=family, make_node=lambda _: node)
    settings = LintSettings(select=(code,), **more)  # type: ignore[arg-type]
    return look(subject, settings).findings


def check(case: Case) -> None:
    text = expand(case.text)
    found = [one for one in findings_of(text, case.code) if one.code == case.code]
    assert bool(found) is case.found, (text, found)
    if case.line is not None:
        assert case.line in [one.span.line if one.span else None for one in found], found
