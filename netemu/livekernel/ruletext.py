"""iptables-save text made comparable: no comment lines, tables in the order of another text."""

from __future__ import annotations


def split_tables(text: str) -> dict[str, str]:
    """Return the text of each table, from `*NAME` to `COMMIT`, without comments."""
    tables: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line.startswith("*"):
            current = tables.setdefault(line[1:].strip(), [])
        current.append(line)
    return {name: "\n".join(lines) + "\n" for name, lines in tables.items()}


def canonical_rules(saved: str, model: str) -> str:
    r"""Return `saved` with its tables in the order in which `model` has them.

    >>> canonical_rules("# x\n*nat\nCOMMIT\n*raw\nCOMMIT\n", "*raw\nCOMMIT\n*nat\nCOMMIT\n")
    '*raw\nCOMMIT\n*nat\nCOMMIT\n'
    """
    tables = split_tables(saved)
    order = list(split_tables(model))
    names = [name for name in order if name in tables]
    names += [name for name in tables if name not in order]
    return "".join(tables[name] for name in names)
