"""`ipset list` text, which a sosreport holds, turned into the commands of `ipset save`.

Kernel: none; list_create of ipset's lib/session.c.
"""

from __future__ import annotations

import re

_FIELD = re.compile(
    r"(Name|Type|Revision|Header|Size in memory|References|Number of entries): ?(.*)"
)
MEMBERS = "Members:"


def is_listing(text: str) -> bool:
    """Return whether a text is what `ipset list` prints."""
    return text.lstrip().startswith("Name: ")


def listing_to_commands(text: str) -> str:
    r"""Return the commands that make the sets, each in the line where a listing says it.

    >>> listing_to_commands("Name: s\nType: hash:ip\nHeader: family inet\nMembers:\n10.0.0.1\n")
    '\n\ncreate s hash:ip family inet\n\nadd s 10.0.0.1\n'
    """
    lines: list[str] = []
    name, kind, in_members = "", "", False
    for line in text.splitlines():
        found = _FIELD.match(line)
        command = ""
        if found is not None and (not in_members or found[1] == "Name"):
            in_members = False
            if found[1] == "Name":
                name = found[2]
            elif found[1] == "Type":
                kind = found[2]
            elif found[1] == "Header":
                command = f"create {name} {kind} {found[2]}".rstrip()
        elif line == MEMBERS:
            in_members = True
        elif line.strip() and in_members:
            command = f"add {name} {line}"
        lines.append(command)
    return "".join(f"{line}\n" for line in lines)
