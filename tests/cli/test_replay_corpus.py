"""Every public capture through a stateful rule set, read and replayed as a user would."""

from __future__ import annotations

import json
from pathlib import Path

from netemu.cli import cli
from netemu.cli.run import run

RULES = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -i eth0 -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT
-A FORWARD -m conntrack --ctstate NEW,RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
"""


def test_every_capture_replays(corpus_pcaps: Path, tmp_path: Path, capsys):
    """No internal error; what holds no frames (netlink) is refused with the reason."""
    node = tmp_path / "rules"
    node.write_text(RULES)
    refused, frames = {}, 0
    for path in sorted(corpus_pcaps.iterdir()):
        out = tmp_path / path.stem
        code = run(cli, ["replay", str(node), "--in", f"eth0={path}", "--out", str(out)])
        if code in {0, 1}:
            frames += json.loads((out / "summary.json").read_text())["frames"]
        else:
            refused[path.name] = (code, capsys.readouterr().err)
        capsys.readouterr()
    assert list(refused) == ["PcapPlusPlus__microsecs_big_endian.pcap"]
    assert refused["PcapPlusPlus__microsecs_big_endian.pcap"][0] == 3
    assert "link type 253 (netlink)" in refused["PcapPlusPlus__microsecs_big_endian.pcap"][1]
    assert frames > 800
