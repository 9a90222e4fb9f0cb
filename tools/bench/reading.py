"""How fast a large ruleset is read: netemu beside `iptables-nft-restore --test`, in one run.

    .venv/bin/python tools/bench/reading.py            50,000 kube-proxy-shaped rules
    .venv/bin/python tools/bench/reading.py --rules N --runs 5

Both are timed as whole processes, turn about, in processor time (user and system), since other
work on the machine moves that less than the clock on the wall. Printed are minimum, median and
maximum, what of netemu's time is the reading alone, without starting Python and importing, and the
ratio of each pair of runs; exits 1 if the median ratio is above 2. netemu's modules are compiled
before the first run counts, as an installation does. The real tool needs root; without it only
netemu's time is printed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 2.0
"""Times that `iptables-nft-restore --test` may take."""

READING = """
import sys, time
from pathlib import Path
from netemu.ruleset import parse_ruleset
text = Path(sys.argv[1]).read_text()
start = time.process_time()
ruleset = parse_ruleset(text, sys.argv[1], backend="nft")
took = time.process_time() - start
rules = sum(len(chain.rules) for table in ruleset.tables for chain in table.chains.values())
Path(sys.argv[2]).write_text(f"{took} {rules}")
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


def processor_seconds(words: list[str], environment: dict[str, str]) -> float:
    """Run a program to its end and return its user and system time."""
    pid = os.posix_spawnp(words[0], words, environment)
    _, status, used = os.wait4(pid, 0)
    if status != 0:
        raise SystemExit(f"{words[0]} failed")
    return used.ru_utime + used.ru_stime


def row(name: str, figures: list[float]) -> str:
    """Return minimum, median and maximum."""
    found = (min(figures), statistics.median(figures), max(figures))
    return f"{name:<40}" + "".join(f"{figure:8.3f}" for figure in found)


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
    reading: list[float] = []
    real: list[float] = []
    rules = "0"
    with tempfile.TemporaryDirectory() as directory:
        path, told = f"{directory}/nat.rules", Path(directory, "told")
        Path(path).write_text(kube_proxy(chosen.rules), encoding="ascii")
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{directory}/compiled"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        os.chdir(ROOT)
        netemu = [sys.executable, "-c", READING, path, str(told)]
        processor_seconds(netemu, environment)
        for _ in range(chosen.runs):
            ours.append(processor_seconds(netemu, environment))
            took, rules = told.read_text(encoding="ascii").split()
            reading.append(float(took))
            if not why_not:
                tool = ["unshare", "-n", "iptables-nft-restore", "--test", path]
                real.append(processor_seconds(tool, environment))
    print(f"{rules} rules, {chosen.runs} runs, seconds         minimum  median maximum")
    print(row("netemu, whole process", ours))
    print(row("netemu, the reading alone", reading))
    if why_not:
        print(f"iptables-nft-restore --test             {why_not}")
        return 0
    ratios = [mine / other for mine, other in zip(ours, real, strict=True)]
    print(row("iptables-nft-restore --test", real))
    print(row(f"ratio of whole processes (limit {LIMIT})", ratios))
    return int(statistics.median(ratios) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
