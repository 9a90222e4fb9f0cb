"""How long commands take from a cold start: a new process, its modules compiled before.

    .venv/bin/python tools/bench/cold.py
    .venv/bin/python tools/bench/cold.py --runs 20

`netemu lint` looks at 30 rules without a fault, then at the same with shadowed ones, whose findings
each show a packet that the engine walked. Printed are the medians of processor time (user and
system), which other work on the machine moves less, and of the clock on the wall.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

HEAD = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:services - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lan0 -s 10.0.0.0/8 -m conntrack --ctstate NEW -j services
-A INPUT -m limit --limit 10/min -j LOG --log-prefix "dropped: "
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lan0 -o eth0 -s 10.0.0.0/8 -j ACCEPT
"""

SERVICES = tuple(
    f"-A services -p {protocol} -m {protocol} --dport {port} -j ACCEPT\n"
    for protocol, ports in (("tcp", range(8000, 8024, 2)), ("udp", range(5300, 5324, 2)))
    for port in ports
)

SHADOWED = (
    "-A services -s 10.2.0.0/16 -p tcp -m tcp --dport 8000 -j DROP\n",
    "-A services -s 10.3.0.0/16 -p udp -m udp --dport 5300 -j DROP\n",
    "-A services -s 10.4.0.0/16 -p udp -m udp --dport 5302 -j DROP\n",
)


def timed(words: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a program to its end; return its user and system time, and the time on the wall."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, nothing, 1), (os.POSIX_SPAWN_DUP2, nothing, 2)]
    start = time.perf_counter()
    pid = os.posix_spawn(words[0], words, environment, file_actions=actions)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    os.close(nothing)
    if os.waitstatus_to_exitcode(status) not in {0, 1}:
        raise SystemExit(f"{words} failed")
    return used.ru_utime + used.ru_stime, wall


def main() -> None:
    """Time each command."""
    parser = argparse.ArgumentParser(description="How long commands take from a cold start.")
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as directory:
        clean, faulty = Path(directory, "clean.rules"), Path(directory, "faulty.rules")
        clean.write_text("".join([HEAD, *SERVICES, "COMMIT\n"]), encoding="ascii")
        rules = [HEAD, *SERVICES[:-3], *SHADOWED, "COMMIT\n"]
        faulty.write_text("".join(rules), encoding="ascii")
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{directory}/compiled"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        netemu = [sys.executable, "-m", "netemu"]
        packet = "tcp 192.0.2.9:40000 > 10.96.0.10:80 S"
        commands = {
            "python, nothing else": [sys.executable, "-c", "pass"],
            "netemu --version": [*netemu, "--version"],
            "netemu --help": [*netemu, "--help"],
            "netemu lint, 30 rules without a fault": [*netemu, "lint", str(clean)],
            "netemu lint, 30 rules with 3 faults": [*netemu, "lint", str(faulty)],
            "netemu trace of a packet": [*netemu, "trace", "rulesets/clusterip", packet],
        }
        print(f"{runs} runs, milliseconds{'processor':>30}{'wall':>8}")
        for name, words in commands.items():
            timed(words, environment)
            figures = [timed(words, environment) for _ in range(runs)]
            medians = (statistics.median(one[at] for one in figures) * 1000 for at in (0, 1))
            print(f"{name:<42}" + "".join(f"{figure:>9.0f}" for figure in medians))


if __name__ == "__main__":
    main()
