"""The virtual servers of IPVS in a node snapshot, as lint rules look at them.

Kernel: none.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from netemu.errors import NetemuError
from netemu.lint.finding import Finding, Span
from netemu.lint.subject import Subject
from netemu.netfilter.ipvs.service import VirtualServerSpec
from netemu.netfilter.xtables.names import protocol_name
from netemu.sim.spec import TextFile
from netemu.wire.address import format_address


class Served(Struct, kw_only=True):
    """A virtual server and the weights of its real ones."""

    name: str
    line: int
    file: TextFile
    weights: list[int] = field(default_factory=list)

    def finding(self, message: str) -> Finding:
        """Make a finding about it."""
        width = len(self.file.text.split("\n")[self.line - 1])
        span = Span(line=self.line, end_line=self.line, end_column=width + 1)
        return Finding(message=message, span=span, file=self.file.name)


def virtual_servers(subject: Subject) -> Iterator[Served]:
    """Yield every virtual server; nothing where the text cannot be read."""
    file = subject.node.main.ipvs if subject.node is not None else None
    if file is None:
        return
    from netemu.ruleset.ipvsadm import parse_ipvs  # noqa: PLC0415 - all of IPVS, which few have

    found: dict[str, Served] = {}
    try:
        commands = parse_ipvs(file.text, file.name).commands
    except NetemuError:
        return
    for command in commands:
        name = _name(command.service)
        if command.do == "A":
            found[name] = Served(name=name, line=command.line, file=file)
        elif command.do == "a" and command.server is not None and name in found:
            found[name].weights.append(command.server.weight)
    yield from found.values()


def _name(service: VirtualServerSpec) -> str:
    if service.fwmark:
        return f"of mark {service.fwmark:#x}"
    protocol = protocol_name(service.protocol)
    return f"{protocol} {format_address(service.address)}:{service.port}"
