"""Syncs one after the other on the live kernel: what it holds then is what netemu says."""

from __future__ import annotations

import subprocess

import pytest

from netemu.kube.proxy.parts import iptables_jumps, merged_text
from netemu.ruleset import parse_ruleset, print_ruleset
from tests.kube.changing import changes
from tests.kube.test_sync import Proxy

STEPS = 12


@pytest.mark.parametrize("seed", [1, 2])
def test_restored_text_leaves_the_same_tables(seed: int):
    proxy = Proxy()
    first = proxy.sync()
    whole = merged_text(proxy.settings, first.text, iptables_jumps(proxy.settings))
    proxy.ruleset = parse_ruleset(whole)
    script = [f"iptables-legacy-restore <<'END' || exit 1\n{whole}END"]
    for item, gone in changes(seed, STEPS):
        proxy.told(item, gone=gone)
        text = proxy.sync().text
        script.append(f"iptables-legacy-restore --noflush --counters <<'END' || exit 1\n{text}END")
    names = [table.name for table in proxy.ruleset.tables]
    script.append(f"for table in {' '.join(names)}; do iptables-legacy-save -t $table; done")
    run = subprocess.run(
        ["unshare", "-n", "sh", "-c", "\n".join(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    saved = "".join(f"{line}\n" for line in run.stdout.splitlines() if line[0] != "#")
    assert print_ruleset(proxy.ruleset, counters=False) == saved
