"""How fast a large ruleset is read: netemu beside `iptables-nft-restore --test`, in one run.

    .venv/bin/python tools/bench/reading.py            50,000 kube-proxy-shaped rules
    .venv/bin/python tools/bench/reading.py --rules N --runs 5

Prints the best time of each and their ratio; exits 1 if netemu takes more than twice the time.
The real tool needs root; without it only netemu's time is printed. Each of netemu's runs is a new
process that reads the text once, so nothing is known from the run before; what it takes to start
Python and to import is told apart, since `iptables-nft-restore` is timed whole.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 2.0
"""Times that `iptables-nft-restore --test` may take."""

TIMED = """
import sys, time
from pathlib import Path
from netemu.ruleset import parse_ruleset
text = Path(sys.argv[1]).read_text()
start = time.perf_counter()
ruleset = parse_ruleset(text, sys.argv[1], backend="nft")
took = time.perf_counter() - start
rules = sum(len(chain.rules) for table in ruleset.tables for chain in table.chains.values())
print(took, rules)
"""


def kube_proxy(rules: int) -> str:
    """Return a nat table as kube-proxy writes it, of about so many rules."""
    chains: list[str] = []
    lines: list[str] = []
    number = 0
    while len(lines) < rules:
        declared, appended = zip(*_service(number), strict=True)
        chains += [chain for chain in declared if chain]
        lines += appended
        number += 1
    head = [":KUBE-MARK-MASQ - [0:0]", ":KUBE-SERVICES - [0:0]", *chains]
    first = [
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
    ]
    return "\n".join(["*nat", *head, *first, *lines[:rules], "COMMIT", ""])


def _service(number: int) -> Iterator[tuple[str, str]]:
    """Yield (chain to declare, rule) of a service with three endpoints."""
    address = f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    service = f"KUBE-SVC-{number:016X}"
    title = f"ns{number % 97}/service-{number}:http"
    to_it = f"-d {address}/32 -p tcp -m tcp --dport {80 + number % 1000}"
    yield (
        f":{service} - [0:0]",
        f'-A KUBE-SERVICES {to_it} -m comment --comment "{title} cluster IP" -j {service}',
    )
    yield (
        "",
        (
            f"-A {service} ! -s 10.244.0.0/16 {to_it} "
            f'-m comment --comment "{title} cluster IP" -j KUBE-MARK-MASQ'
        ),
    )
    for endpoint in range(3):
        serial = number * 3 + endpoint
        pod = f"10.{244 + (serial >> 16)}.{serial >> 8 & 255}.{serial & 255}"
        chain = f"KUBE-SEP-{serial:016X}"
        comment = f'-m comment --comment "{title} -> {pod}:8080"'
        draw = ""
        if endpoint < 2:
            draw = f" -m statistic --mode random --probability {1 / (3 - endpoint):.11f}"
        yield f":{chain} - [0:0]", f"-A {service} {comment}{draw} -j {chain}"
        yield "", f'-A {chain} -s {pod}/32 -m comment --comment "{title}" -j KUBE-MARK-MASQ'
        yield (
            "",
            (
                f'-A {chain} -p tcp -m comment --comment "{title}" -m tcp '
                f"-j DNAT --to-destination {pod}:8080"
            ),
        )


def time_netemu(path: str) -> tuple[float, int]:
    """Return seconds and rules of one reading in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", TIMED, path], cwd=ROOT, check=True, capture_output=True, text=True
    )
    took, rules = done.stdout.split()
    return float(took), int(rules)


def time_real(path: str) -> float:
    """Return seconds of one `iptables-nft-restore --test` in a namespace of its own."""
    start = time.perf_counter()
    subprocess.run(["unshare", "-n", "iptables-nft-restore", "--test", path], check=True)
    return time.perf_counter() - start


def lacks() -> str:
    """Say what the real tool lacks here, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    return "" if shutil.which("iptables-nft-restore") else "needs iptables-nft-restore"


def main() -> int:
    """Time both, turn about."""
    parser = argparse.ArgumentParser(description="How fast a large ruleset is read.")
    parser.add_argument("--rules", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    why_not = lacks()
    ours: list[float] = []
    real: list[float] = []
    with tempfile.NamedTemporaryFile("w", suffix=".rules") as file:
        file.write(kube_proxy(chosen.rules))
        file.flush()
        for _ in range(chosen.runs):
            took, rules = time_netemu(file.name)
            ours.append(took)
            if not why_not:
                real.append(time_real(file.name))
    print(f"{rules} rules, best of {chosen.runs}")
    print(f"netemu                       {min(ours):6.3f} s")
    if why_not:
        print(f"iptables-nft-restore --test  {why_not}")
        return 0
    ratio = min(ours) / min(real)
    print(f"iptables-nft-restore --test  {min(real):6.3f} s")
    print(f"ratio                        {ratio:6.2f}   (limit {LIMIT})")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
