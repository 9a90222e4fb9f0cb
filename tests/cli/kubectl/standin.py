"""Stands in for kubectl: replays what it printed, from the folder that is its first argument.

`get.json`, `configmap.json` and `watch-RESOURCE.json` are its output; `refuse` holds what it
complains of. A watch without a file stays open, as one does while nothing happens.
"""

import sys
import threading
from pathlib import Path


def main() -> None:
    """Print what there is to the question."""
    folder, *words = sys.argv[1:]
    words = [word for word in words if not word.startswith("--context=")]
    resource = words[1].split(",")[0].split(".")[0]
    watching = "--watch" in words
    kind = f"watch-{resource}" if watching else "configmap" if resource == "configmap" else "get"
    refusal = Path(folder) / f"refuse-{kind}"
    answer = Path(folder) / f"{kind}.json"
    if refusal.exists():
        sys.stderr.write(refusal.read_text())
        sys.exit(1)
    if answer.exists():
        sys.stdout.write(answer.read_text())
        sys.stdout.flush()
    elif watching:
        threading.Event().wait()


if __name__ == "__main__":
    main()
