"""iptables-restore text in the making: chains and rules of tables, in canonical order.

kube-proxy goes through Services in random order, so its text is compared, and written here, in a
canonical one: KUBE-NODEPORTS and KUBE-SERVICES, then the other chains by name; rules in the order
in which they come, Services by name.
"""

from __future__ import annotations

from collections.abc import Iterable

FIRST_CHAINS = ("KUBE-NODEPORTS", "KUBE-SERVICES")


class TableText:
    """The chains and rules of one table."""

    __slots__ = ("chains", "deleted", "name")

    def __init__(self, name: str) -> None:
        """Begin an empty table."""
        self.name = name
        self.chains: dict[str, list[str]] = {}
        self.deleted: list[str] = []

    def chain(self, name: str) -> None:
        """Declare a chain."""
        self.chains.setdefault(name, [])

    def rule(self, chain: str, *words: str) -> None:
        """Append a rule; empty words are left out."""
        self.chains.setdefault(chain, []).append(rule_of(words))

    def delete(self, name: str) -> None:
        """Delete a chain that is there already: flush it first, by naming it."""
        self.deleted.append(name)

    def names(self) -> list[str]:
        """Return the chains in canonical order."""
        first = [name for name in FIRST_CHAINS if name in self.chains]
        return first + sorted(self.chains.keys() - set(first))

    def lines(self) -> list[str]:
        """Return the table's lines."""
        names = self.names()
        return [
            f"*{self.name}",
            *(f":{name} - [0:0]" for name in (*names, *self.deleted)),
            *(f"-A {name} {rule}" for name in names for rule in self.chains[name]),
            *(f"-X {name}" for name in self.deleted),
            "COMMIT",
        ]


def rule_of(words: Iterable[str]) -> str:
    """Return a rule of its parts; empty ones are left out."""
    return " ".join(filter(None, words))


def restore_text(*tables: TableText) -> str:
    """Return tables as one text for iptables-restore."""
    return "".join(f"{line}\n" for table in tables for line in table.lines())


def comment(text: str) -> str:
    """Return a comment match, quoted where kube-proxy quotes it: where it has a space.

    >>> comment("ns1/svc1:p80"), comment("ns1/svc1:p80 cluster IP")
    ('-m comment --comment ns1/svc1:p80', '-m comment --comment "ns1/svc1:p80 cluster IP"')
    """
    return f'-m comment --comment "{text}"' if " " in text else f"-m comment --comment {text}"
