"""netemu accepts, refuses and prints what the real iptables-restore and -save do, legacy and nft.

`NETEMU_TOOL_CASES=20` asks twenty times as many cases of each extension as CI does; the summary of
the run says how many there were, and how many differ, by extension.
"""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import pytest

from netemu.netfilter.extensions import EXTENSIONS
from netemu.netfilter.hook import Family
from tests.kernel.iptables_oracle import ask_netemu, ask_real, compare, missing
from tests.kernel.rule_generator import (
    generate,
    generate_commands,
    generate_mixed,
    generate_mutated,
)
from tests.kernel.rule_matrix import PRELUDES, extensions_of, matrix

WHY_NOT = missing()

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "everything is there"),
]

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"

VERDICT = "kernel_oracle_1.8.9_legacy"
"""The column of DUMPS.tsv that says whether iptables-legacy-restore 1.8.9 takes a dump."""

NEEDS_STATE = {
    *("CLUSTERIP", "LED", "SECMARK", "ipvs"),
    *("IDLETIMER", "nfacct"),
}
"""Rules of these load only where the kernel has the module, or the machine the account, or no timer
of the same label and another kind."""

NAMES = [
    pytest.param(family, name, id=f"{family.name}-{name}")
    for family in (Family.IPV4, Family.IPV6)
    for name in sorted(
        {match.name for match in EXTENSIONS.matches if family in match.families}
        | {
            target.name
            for target in EXTENSIONS.targets
            if target.standard is None and family in target.families
        }
    )
    if name not in NEEDS_STATE
]


def differences(
    texts: list[str],
    family: Family = Family.IPV4,
    backend: str = "legacy",
    *,
    counters: bool = True,
) -> list[str]:
    """Say where netemu and the real tools differ, having asked twice."""

    def differ(asked: list[str], *, shared: bool) -> list[tuple[str, str]]:
        real = ask_real(asked, family=family, backend=backend, counters=counters, shared=shared)
        said = [
            compare(
                text, answer, ask_netemu(text, family=family, backend=backend, counters=counters)
            )
            for text, answer in zip(asked, real, strict=True)
        ]
        return [(text, word) for text, word in zip(asked, said, strict=True) if word]

    found: list[str] = []
    for start in range(0, len(texts), 200):
        suspects = [text for text, _ in differ(texts[start : start + 200], shared=True)]
        found += [word for _, word in differ(suspects, shared=False)] if suspects else []
    return found


SHARE = int(os.environ.get("NETEMU_TOOL_CASES", "1"))
"""How many times the cases of an extension are asked that CI asks."""

DRAWN = {"legacy": 30, "nft": 12}
ENUMERATED = {"legacy": 30, "nft": 12}
"""Cases of an extension: drawn ones, and ones of the enumeration."""


def cases_of(name: str, family: Family, backend: str) -> list[str]:
    """Draw cases and take some of the enumeration, evenly."""

    def accepts(text: str) -> bool:
        return ask_netemu(text, family=family, backend=backend).accepted

    texts: list[str] = []
    if name not in PRELUDES:
        texts += generate(DRAWN[backend] * SHARE, seed=20261123, family=family, only=name)
    for flag, extension in extensions_of(family):
        if extension.name == name:
            every = list(matrix(flag, extension, accepts, seed=20261127))
            step = max(1, len(every) // (ENUMERATED[backend] * SHARE))
            texts += every[::step] if SHARE > 1 else every[len(name) % step :: step]
    return list(dict.fromkeys(texts))


@pytest.mark.parametrize("backend", ["legacy", "nft"])
@pytest.mark.parametrize("family, name", NAMES)
def test_options_of_an_extension(family, name, backend, record_property):
    """Values at the edges, negations, doubles, pairs, wrong combinations and places."""
    texts = cases_of(name, family, backend)
    found = differences(texts, family, backend)
    record_property("cases", len(texts))
    record_property("differ", len(found))
    assert found == []


def test_rules_of_several_parts():
    """Generic options, several matches, abbreviations and repeated options in any order."""
    assert differences(list(generate_mixed(300, seed=20261123))) == []


OF_THE_MACHINE = re.compile(
    f"-[mj] (?:{'|'.join(sorted({*NEEDS_STATE, *PRELUDES, 'SET', 'cgroup', 'set'}))}) "
)
"""Rules whose fate hangs on more than their text."""


def test_broken_texts():
    """Texts that load, with a place or two broken: mostly refused, and by both alike."""
    loads = [
        text
        for text in [*generate(400, seed=3), *generate_mixed(200, seed=3)]
        if ask_netemu(text).accepted and not OF_THE_MACHINE.search(text)
    ]
    assert differences(list(generate_mutated(loads, 400, seed=20261123))) == []


WRITTEN = (Path(__file__).parent / "ruleset_lines.txt").read_text(encoding="utf-8").splitlines()


def test_written_lines():
    """Hand-made lines, each alone in the filter table."""
    assert differences([f"*filter\n{line}\nCOMMIT\n" for line in WRITTEN if line]) == []


WHOLE = [
    "*filter\n:FOO - [0:0]\n:BAR - [0:0]\n-A INPUT -j FOO\n-A FOO -j BAR\n-A BAR -j FOO\nCOMMIT\n",
    "*filter\n:FOO - [0:0]\n:BAR - [0:0]\n-A FOO -j BAR\n-A BAR -j FOO\nCOMMIT\n",
    "*filter\n:FOO - [0:0]\n-A FOO -j FOO\nCOMMIT\n",
    "*filter\n:FOO - [0:0]\n-A INPUT -g FOO\n-A FOO -j INPUT\nCOMMIT\n",
    "*filter\n-A INPUT -j OUTPUT\nCOMMIT\n",
    "*filter\n:FOO - [0:0]\n-A INPUT -j FOO\n-A INPUT -j OUTPUT\nCOMMIT\n",
    "*filter\n:FOO - [0:0]\n-A INPUT -g FOO\n-A INPUT -g OUTPUT\nCOMMIT\n",
    "*filter\n:FOO - [0:0]\n:FOO - [0:0]\nCOMMIT\n",
    "*filter\n:FOO ACCEPT [0:0]\nCOMMIT\n",
    "*filter\n:INPUT - [0:0]\n:OUTPUT DROP [1:2]\nCOMMIT\n",
    "*filter\n:INPUT\nCOMMIT\n",
    "*filter\n:\nCOMMIT\n",
    "*filter\n:INPUT DROP [x:2]\nCOMMIT\n",
    "*filter\n:INPUT DROP [1:2] more\nCOMMIT\n",
    "*filter\n:FOO -\t [0:0]\n-A INPUT -6x -4\nCOMMIT\n",
    "*filter\n: INPUT\tDROP  [1:2]\nCOMMIT\n",
    "*filter\n:INPUT FOO [0:0]\nCOMMIT\n",
    '*filter\n:a"b - [0:0]\n:abc - [0:0]\n:Foo - [0:0]\n:zed - [0:0]\n-A INPUT -j abc\nCOMMIT\n',
    "*filter\n:LOG - [0:0]\n-A INPUT -j LOG\nCOMMIT\n",
    "*filter\n:" + "x" * 28 + " - [0:0]\nCOMMIT\n",
    "*filter\n:" + "x" * 29 + " - [0:0]\nCOMMIT\n",
    "*nosuch\nCOMMIT\n",
    "* filter\nCOMMIT\n",
    "*\nCOMMIT\n",
    " *filter\nCOMMIT\n",
    "*filter\n COMMIT\n",
    "*filter\nCOMMIT",
    "*filter\nCOMMIT \n",
    "*filter\n-A INPUT\r\nCOMMIT\n",
    "*filter\r\nCOMMIT\r\n",
    "*filter\n",
    "-A INPUT -j DROP\n",
    "COMMIT\n",
    "*filter\n*nat\nCOMMIT\n",
    "*filter\n\n# comment\n-A INPUT -j DROP\n#\nCOMMIT\n# end\n",
    "*filter\nCOMMIT\n*nat\n-A PREROUTING -i eth0\nCOMMIT\n*mangle\nCOMMIT\n*raw\nCOMMIT\n",
    "*filter\n-A INPUT -j DROP\nCOMMIT\n*filter\n-A INPUT -j ACCEPT\nCOMMIT\n",
    "*filter\n[5:6] -A INPUT -j DROP\n[7:8] -A INPUT -c 1 2\n[x:y] -A INPUT\nCOMMIT\n",
    "*filter\n[5:6]-A INPUT -j DROP\nCOMMIT\n",
    "*filter\n[5:6 -A INPUT -j DROP\nCOMMIT\n",
    "*filter\n[56] -A INPUT -j DROP\nCOMMIT\n",
    "*filter\n-A INPUT -j DROP\n-I INPUT -j ACCEPT\n-I INPUT 2 -s 1.1.1.1,2.2.2.2\n-I INPUT 9\nCOMMIT\n",
    "*filter\n-A INPUT -j DROP\n-I INPUT -j ACCEPT\n-I INPUT 2 -s 1.1.1.1,2.2.2.2\n-I INPUT 5 -p 9\nCOMMIT\n",
    "*filter\n-A INPUT -j DROP\n-D INPUT -j DROP\n-A INPUT -p 6\n-A INPUT -p 7\n-D INPUT 1\nCOMMIT\n",
    "*filter\n-A INPUT -p 6\n-A INPUT -p 7\n-R INPUT 1 -p 8\nCOMMIT\n",
    "*filter\n-A INPUT -p 6\n-R INPUT 1 -s 1.1.1.1,2.2.2.2\nCOMMIT\n",
    "*filter\n-N FOO\n-A FOO\n-E FOO BAR\n-A INPUT -j BAR\n-E BAR BAZ\n-P INPUT DROP\nCOMMIT\n",
    "*filter\n-N FOO\n-A INPUT -j FOO\n-X FOO\nCOMMIT\n",
    "*filter\n-N FOO\n-A FOO\n-X FOO\nCOMMIT\n",
    "*filter\n-N FOO\n-A FOO\n-F FOO\n-X FOO\nCOMMIT\n",
    "*filter\n-N FOO\n-N BAR\n-A FOO -j BAR\n-X\nCOMMIT\n",
    "*filter\n-N FOO\n-N BAR\n-X\nCOMMIT\n",
    "*filter\n-A INPUT\n-F\n-A OUTPUT\nCOMMIT\n",
    "*filter\n[3:4] -A INPUT\n[5:6] -A INPUT\n-Z INPUT 1\nCOMMIT\n",
    "*filter\n[3:4] -A INPUT\n:OUTPUT DROP [7:8]\n-Z\nCOMMIT\n",
    "*filter\n-A INPUT -p 6\n-C INPUT -p 6\nCOMMIT\n",
    "*filter\n-A INPUT -p 6\n-C INPUT -p 7\nCOMMIT\n",
    "*filter\n-A INPUT " + "-m comment --comment x " * 62 + "\nCOMMIT\n",
    "*filter\n-A INPUT " + "-m comment --comment x " * 62 + "-f\nCOMMIT\n",
    "*filter\n-A INPUT " + "-m comment --comment x " * 62 + "-p 6\nCOMMIT\n",
    "*filter\n-A INPUT " + "-m comment --comment x " * 63 + "\nCOMMIT\n",
    "*nat\n:FOO - [0:0]\n-A PREROUTING -j FOO\n-A FOO -j DNAT --to-destination 1.2.3.4\nCOMMIT\n",
    "*nat\n:FOO - [0:0]\n-A POSTROUTING -j FOO\n-A FOO -j DNAT --to-destination 1.2.3.4\nCOMMIT\n",
    "*nat\n:FOO - [0:0]\n-A FOO -j DNAT --to-destination 1.2.3.4\nCOMMIT\n",
    "*filter\n:FOO - [0:0]\n-A FOO -j DNAT --to-destination 1.2.3.4\nCOMMIT\n",
    "*mangle\n-A INPUT -j REJECT\nCOMMIT\n",
    "*security\n-A INPUT -j ACCEPT\nCOMMIT\n",
    "*filter\n:INPUT DROP [0:0]\n-A INPUT\n:FORWARD DROP [0:0]\n-X\nCOMMIT\n",
    "*filter\n:INPUT DROP [0:0]\n-X INPUT\n-A INPUT\nCOMMIT\n",
    "*filter\n-A INPUT\n-X INPUT\nCOMMIT\n",
    "*filter\n-X INPUT\nCOMMIT\n",
    "*filter\n:FOO -\n-A INPUT -j FOO\n-S OUTPUT\nCOMMIT\n",
    *(f"*filter\n-{letter} BAZ\nCOMMIT\n" for letter in "LSZ"),
]


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_whole_files(backend):
    """Declarations, other commands, loops, counters, limits, and what the kernel refuses."""
    assert differences(WHOLE, backend=backend) == []


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_files_of_commands(backend):
    """Commands in any order on few chains, so that they often meet."""
    texts = list(generate_commands(250 * SHARE, seed=20261127))
    assert differences(texts, backend=backend, counters=False) == []


COUNTED = [
    f"*filter\n:BAR - [0:0]\n-A INPUT\n{line}\nCOMMIT\n"
    for line in [
        *(":INPUT DROP", ":INPUT DROP [1:2]", ":INPUT DROP [x:y]", ":INPUT DROP x"),
        *("[1:2] -A INPUT", "[x:y] -A INPUT", "[1:x] -A INPUT", "[12] -A INPUT", "[1:2 -A INPUT"),
        *("[1:2]-A INPUT", "[1:2] -A INPUT -c 3 4", "[1:2]  -A INPUT -p 9", "[:] -A INPUT"),
        *(
            "[1:2] COMMIT",
            "[1:2] :FOO - [0:0]",
            "[1:2]",
            "[1:2] -A INPUT -p tcp\n[3:4] -A BAR -p 9",
        ),
        *(f"[1:2] {command}" for command in ["-N FOO", "-F INPUT", "-X", "-P INPUT DROP"]),
        *(f"{command} -c 1 2" for command in ["-N FOO", "-F", "-D INPUT", "-D INPUT 1", "-Z"]),
        *("[3x:4] -A INPUT", "[ 3:4] -A INPUT", "[3:-4] -A INPUT", "[-3:4] -A INPUT"),
        *("[3,9:4] -A INPUT", "[3 5:4 6] -A INPUT", "[99999999999999999999:4] -A INPUT"),
        *(":INPUT DROP [3:4x]", ":INPUT DROP [3:4", ":INPUT DROP [3:-4]", ":INPUT DROP [x:4]"),
        *("-A INPUT -c 3- 4", "-A INPUT -c 0x3 4", "-A INPUT -c 3,-4", "-A INPUT -c -3 +4"),
        *("-P INPUT DROP -c 1 2", "-E BAR FOO -c 1 2", "-I INPUT -c 1 2", "-C INPUT -c 1 2"),
    ]
]


@pytest.mark.parametrize("backend", ["legacy", "nft"])
@pytest.mark.parametrize("counters", [False, True])
@pytest.mark.parametrize("family", [Family.IPV4, Family.IPV6])
def test_counters(backend, counters, family):
    """Counters before a rule, of a policy and of -c, with and without -c of both tools."""
    texts = [text for text in COUNTED if not (counters and ":INPUT DROP\n" in text)]
    assert differences(texts, family, backend, counters=counters) == []


NAMES_OF_CHAINS = [
    f"*filter\n:FOO - [0:0]\n{line}\nCOMMIT\n"
    for line in [
        *(
            f":{name} - [0:0]"
            for name in ["-x", "!x", "LOG", "ACCEPT", "RETURN", "a,b", "tcp", "x!"]
        ),
        *(
            f"-N {name}"
            for name in ["-x", "!x", "LOG", "ACCEPT", '"a b"', "a,b", "tcp", "x!", "FOO"]
        ),
        *(
            f"-E FOO {name}"
            for name in ["-x", "!x", "LOG", "ACCEPT", '"a b"', "tcp", "FOO", "INPUT"]
        ),
        *(f":INPUT {policy} [0:0]" for policy in ["QUEUE", "RETURN", "LOG", "x"]),
        *(f"-P INPUT {policy}" for policy in ["QUEUE", "RETURN", "LOG", "x"]),
        *(
            ":a\vb - [0:0]",
            ":a\rb - [0:0]",
            ":FOO -m [0:0]",
            "-P FOO DROP",
            ":é - [0:0]",
            ":a\\b -",
        ),
    ]
]


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_names_of_chains(backend):
    """What a chain may be called where it is declared, made and renamed; policies."""
    assert differences(NAMES_OF_CHAINS, backend=backend, counters=False) == []


# -- public dumps ---------------------------------------------------------------------------------


def corpus_rows(program: str) -> list[dict[str, str]]:
    with (CORPUS / "DUMPS.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        row for row in rows if row["family"] == program and row[VERDICT] in {"ACCEPT", "REJECT"}
    ]


def dump_text(row: dict[str, str]) -> str:
    """Return a dump; one that was cut off before its COMMIT gets it, as when it was judged."""
    text = (CORPUS / "dumps" / row["file"]).read_bytes().decode("utf-8", "surrogateescape")
    return f"{text}COMMIT\n" if row["file"].endswith(".frag") and "COMMIT" not in text else text


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"needs the corpus in {CORPUS}")
@pytest.mark.parametrize("backend", ["legacy", "nft"])
@pytest.mark.parametrize("program", ["iptables", "ip6tables"])
def test_corpus(program, backend, capsys):
    """Public dumps are taken or refused as they were judged, and print as the real -save prints."""
    family = Family.IPV6 if program == "ip6tables" else Family.IPV4
    rows = corpus_rows(program)
    texts = [dump_text(row) for row in rows]
    ours = [ask_netemu(text, family=family, backend=backend) for text in texts]
    if backend == "legacy":
        wrong = [
            f"{row['file']}: {row[VERDICT]}, netemu: {answer.message or 'accepts'}"
            for row, answer in zip(rows, ours, strict=True)
            if answer.accepted != (row[VERDICT] == "ACCEPT")
        ]
        assert wrong == []
    assert differences(texts, family, backend) == []
    accepted = sum(answer.accepted for answer in ours)
    with capsys.disabled():
        print(f"\n{program}-{backend}: {len(rows)} dumps, {accepted} load, 0 differ")
