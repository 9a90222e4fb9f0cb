"""IP sets without entries, for rules that name sets which nobody has given.

Kernel: none.
"""

from __future__ import annotations

import re

from netemu.sim.spec import TextFile

NO_ENTRIES = "empty"
"""Word in place of the name of a file with sets."""

_USE = re.compile(
    r"--(?P<option>match-set|add-set|del-set|map-set) (?P<name>\S+) (?P<directions>(?:src|dst)\S*)"
)
_TYPES = ("hash:net", "hash:net,port", "hash:ip,port,net")
"""By the number of directions that a rule gives."""


def names_sets(text: str) -> bool:
    """Return whether any rule names a set."""
    return _USE.search(text) is not None


def empty_sets(text: str, family: int) -> TextFile:
    r"""Return the sets that rules name, with as many dimensions as they give directions.

    >>> empty_sets("-A INPUT -m set --match-set web dst,dst -j ACCEPT", 4).text
    'create web hash:net,port family inet\n'
    """
    sizes: dict[str, int] = {}
    mapped: set[str] = set()
    for use in _USE.finditer(text):
        size = use["directions"].count(",") + 1
        sizes[use["name"]] = max(size, sizes.get(use["name"], 0))
        if use["option"] == "map-set":
            mapped.add(use["name"])
    word = "inet" if family == 4 else "inet6"
    lines = [
        f"create {name} {_TYPES[min(size, len(_TYPES)) - 1]} family {word}"
        f"{' skbinfo' if name in mapped else ''}\n"
        for name, size in sizes.items()
    ]
    return TextFile(name=NO_ENTRIES, text="".join(lines))
