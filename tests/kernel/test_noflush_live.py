"""Text restored onto running tables: what the kernel holds then, and what is refused."""

from __future__ import annotations

import subprocess

import pytest

from netemu.errors import RulesetError
from netemu.ruleset import parse_ruleset, print_ruleset

RUNNING = """\
*nat
:PREROUTING ACCEPT [7:420]
:A - [0:0]
:B - [0:0]
:OLD - [0:0]
[5:300] -A PREROUTING -j A
-A A -p tcp -m tcp --dport 80 -j B
-A A -p tcp -m tcp --dport 81 -j OLD
[3:180] -A B -p tcp -j DNAT --to-destination 10.0.0.1
-A OLD -j RETURN
COMMIT
"""
TEXTS = {
    "a chain that is named is flushed": ":A - [0:0]\n-A A -p udp -j RETURN\n",
    "a rule is appended to a chain that is not named": "-A A -p udp -j RETURN\n",
    "a stale chain goes": ":A - [0:0]\n:OLD - [0:0]\n-A A -p tcp -j B\n-X OLD\n",
    "a chain that is jumped to stays": ":OLD - [0:0]\n-X OLD\n",
    "a chain with rules stays": ":A - [0:0]\n-X OLD\n",
    "a new chain": ":C - [0:0]\n-A C -j RETURN\n-I PREROUTING -j C\n",
    "a policy": ":PREROUTING DROP [1:60]\n",
    "flushing all": "-F\n",
    "a renamed chain": "-E B NEW\n",
    "a deleted rule": "-D A -p tcp -m tcp --dport 81 -j OLD\n",
    "a loop through what runs": "-A B -j A\n",
    "an extension where it may not stand": ":C - [0:0]\n-A B -j C\n-A C -j MASQUERADE\n",
    "a running rule that a new hook reaches": "-A POSTROUTING -j A\n",
    "counters": ":A - [0:0]\n[4:5] -A A -j RETURN\n",
}


def in_the_kernel(text: str) -> str | None:
    """Return what iptables-save prints after both were loaded; None if the second was refused."""
    script = f"""
        iptables-legacy-restore -c <<'END' || exit 9
{RUNNING}END
        iptables-legacy-restore --noflush --counters <<'END' || exit 1
*nat
{text}COMMIT
END
        iptables-legacy-save -c -t nat
    """
    run = subprocess.run(
        ["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode in {0, 1}, run.stderr
    if run.returncode:
        return None
    return "".join(f"{line}\n" for line in run.stdout.splitlines() if line[0] != "#")


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_restoring_onto_running_tables(text: str):
    running = parse_ruleset(RUNNING)
    before = print_ruleset(running)
    expected = in_the_kernel(text)
    found: str | None
    try:
        restored = parse_ruleset(f"*nat\n{text}COMMIT\n", onto=running)
        found = print_ruleset(restored)
    except RulesetError:
        found = None
    assert found == expected
    assert print_ruleset(running) == before
