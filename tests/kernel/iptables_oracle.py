"""Asks the real iptables-restore and iptables-save, each text in a network namespace of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.ruleset import parse_ruleset, print_ruleset
from netemu.ruleset.nft import forget_counters


@dataclass(frozen=True)
class Answer:
    accepted: bool
    tables: dict[str, str]
    """Saved text of each table."""
    message: str = ""


def missing(backend: str = "legacy") -> str:
    """What lacks for asking, or empty."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "needs root"
    for tool in (f"iptables-{backend}-restore", f"iptables-{backend}-save", "unshare"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    done = subprocess.run(
        ["unshare", "-n", f"iptables-{backend}-save"], capture_output=True, check=False
    )
    return "" if done.returncode == 0 else f"iptables-{backend} does not work here"


_SET = re.compile(r"--(?:match|add|del|map)-set (\S{1,31})(?= )")
"""A set's name where a rule uses it."""

_MARK = "=====netemu====="


def ask_real(
    texts: list[str],
    *,
    family: Family = Family.IPV4,
    backend: str = "legacy",
    counters: bool = True,
    shared: bool = False,
) -> list[Answer]:
    """Load each text into a fresh namespace, with the sets that it names, and save it again.

    With `shared` all go into one namespace, one after the other, which is four times as quick; what
    differs then is to be asked once more, as something may have been left behind.
    """
    inet = "family inet6" if family == Family.IPV6 else "family inet"
    flag = " -c" if counters else ""
    program = ("ip6tables" if family == Family.IPV6 else "iptables") + f"-{backend}"
    with tempfile.TemporaryDirectory() as directory:
        script = []
        for number, text in enumerate(texts):
            path = Path(directory, str(number))
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
            tables = set(re.findall(r"^\*(\w+)$", text, re.MULTILINE))
            only = f" -t {min(tables)}" if shared and len(tables) == 1 else ""
            ask = f"{program}-restore{flag} <{path} && echo {_MARK}ok && {program}-save{flag}{only}"
            names = sorted(set(_SET.findall(text)))
            if names:
                lines = "".join(f"create {name} hash:ip {inet}\n" for name in names)
                Path(f"{path}.sets").write_text(lines, encoding="utf-8")
                ask = f"ipset -exist restore <{path}.sets; {ask}"
            ask = f"({ask})" if shared else f"unshare -n sh -c '{ask}'"
            script.append(f"{ask} 2>&1; echo; echo {_MARK}end")
        done = subprocess.run(
            ["unshare", "-n", "sh"] if shared else ["sh"],
            input="\n".join(script).encode(),
            capture_output=True,
            check=False,
        )
    output = done.stdout.decode("utf-8", "surrogateescape")
    parts = output.split(f"{_MARK}end\n")
    assert len(parts) == len(texts) + 1, done.stderr[-1000:]
    return [_answer(part) for part in parts[:-1]]


def _answer(output: str) -> Answer:
    message, ok, saved = output.partition(f"{_MARK}ok\n")
    if "\nUsage: " in message:
        return Answer(False, {}, "-h prints the usage and ends the program")
    return Answer(bool(ok), split_tables(saved) if ok else {}, message.strip())


def split_tables(text: str) -> dict[str, str]:
    """Cut saved text into tables, without comment lines."""
    kept = "".join(line + "\n" for line in text.split("\n") if line and not line.startswith("# "))
    return {
        found[1]: found[0]
        for found in re.finditer(r"^\*(\S+)\n.*?^COMMIT\n", kept, re.MULTILINE | re.DOTALL)
    }


def ask_netemu(
    text: str, *, family: Family = Family.IPV4, backend: str = "legacy", counters: bool = True
) -> Answer:
    """Read and print with netemu."""
    try:
        ruleset = parse_ruleset(text, family=family, backend=backend, counters=counters)
    except RulesetError as error:
        return Answer(False, {}, str(error))
    if backend == "nft":
        forget_counters(ruleset)
    printed = print_ruleset(ruleset, counters=counters, backend=backend)
    return Answer(True, split_tables(printed))


def compare(text: str, real: Answer, ours: Answer) -> str:
    """Say how two answers differ; empty when they agree."""
    if real.accepted != ours.accepted:
        said = f"real {'accepts' if real.accepted else 'refuses'}, netemu does not agree"
        return f"{said}\n{text}real: {real.message}\nnetemu: {ours.message}"
    for name, table in ours.tables.items():
        if real.tables.get(name) != table:
            return f"{text}real:\n{real.tables.get(name)}\nnetemu:\n{table}"
    return ""
