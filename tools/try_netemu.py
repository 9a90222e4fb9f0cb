"""Set up netemu and run its main job on an embedded scene.

    python3 tools/try_netemu.py              a frame to a ClusterIP, and the pod's answer
    python3 tools/try_netemu.py ARGUMENT...  any other netemu command line

Needs nothing but Python 3.11 or newer; the second run starts at once.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bootstrap

SCENE = "rulesets/clusterip"
PACKET = "tcp 192.0.2.9:40000 > 10.96.0.10:80 S"
DEFAULT = ("trace", SCENE, PACKET, "--reply")


def main() -> int:
    """Run netemu with the arguments given, or the embedded scene."""
    python = bootstrap.ensure()
    arguments = sys.argv[1:]
    directory = None
    if not arguments:
        arguments, directory = list(DEFAULT), bootstrap.ROOT
        shown = " ".join(f"'{word}'" if " " in word else word for word in arguments)
        bootstrap.note(f"$ netemu {shown}")
    try:
        command = [str(python), "-m", "netemu", *arguments]
        return subprocess.run(command, check=False, cwd=directory).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
