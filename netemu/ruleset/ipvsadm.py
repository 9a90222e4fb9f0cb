"""ipvsadm's text: rules as `ipvsadm -Sn` prints and `-R` reads them, lists as `-Ln` prints them.

A rule file's lines are ipvsadm's own options: `-A -t 10.96.0.1:443 -s rr`, then
`-a -t 10.96.0.1:443 -r 192.168.1.10:6443 -m -w 1`; -E -e -D -d -C change and remove, and
`--set 900 120 300` sets the timeouts of TCP, of TCP after a FIN, of UDP. A list has no thresholds,
so that they are lost where it is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from msgspec import Struct, field

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.ipvs.control import (
    ip_vs_add_dest,
    ip_vs_add_service,
    ip_vs_del_dest,
    ip_vs_del_service,
    ip_vs_edit_dest,
    ip_vs_edit_service,
    ip_vs_flush,
    ip_vs_set_timeouts,
)
from netemu.netfilter.ipvs.service import (
    FORWARD_WORDS,
    IP_VS_CONN_F_DROUTE,
    IP_VS_CONN_F_MASQ,
    IP_VS_CONN_F_TUNNEL,
    RealServerSpec,
    ServiceFlag,
    Tunnel,
    TunnelType,
    VirtualServer,
    VirtualServerSpec,
)
from netemu.netfilter.ipvs.table import Ipvs
from netemu.netfilter.xtables.addresses import dotted_octets
from netemu.netfilter.xtables.ports import resolve_port
from netemu.wire.ipv4 import IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP

DEFAULT_PERSISTENCE_S = 360
"""`-p` without a number (IPVS_SVC_PERSISTENT_TIMEOUT)."""

MAXIMUM_PORT = 0xFFFF

MAXIMUM_TIMEOUT_S = 31 * 24 * 3600
"""MAX_TIMEOUT of ipvsadm."""

IPV6_LEFT_OUT = "IPv6 virtual servers are left out: netemu does not emulate IPv6 yet"


class IpvsCommand(Struct, frozen=True, kw_only=True):
    """One line: what to do with which server."""

    line: int
    do: str
    """A E D for virtual servers, a e d for real ones, C for all, set for timeouts."""
    service: VirtualServerSpec
    server: RealServerSpec | None = None
    timeouts_s: tuple[int, ...] = ()
    """Of TCP, TCP after a FIN, UDP."""
    text: str = ""


class IpvsText(Struct):
    """A file that was read."""

    commands: list[IpvsCommand] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Ipv6Error(Exception):
    """A line is about IPv6."""


def parse_ipvs(text: str, file: str = "ipvsadm") -> IpvsText:
    """Read rules or a list; RulesetError says where what cannot be read stands."""
    read = _list_lines if _is_list(text) else _rule_lines
    found = IpvsText()
    for item in read(text, file):
        if item is None:
            found.notes = [IPV6_LEFT_OUT]
        else:
            found.commands.append(item)
    return found


def apply_ipvs(net: Net, text: str, file: str = "ipvsadm") -> list[str]:
    """Do what a file says, as `ipvsadm -R` does; return what it leaves out."""
    found = parse_ipvs(text, file)
    lines = text.splitlines()
    for command in found.commands:
        try:
            _apply(net, command)
        except RulesetError as error:
            context = lines[command.line - 1]
            raise RulesetError(
                error.message, file=file, line=command.line, column=1, context=context
            ) from None
    return found.notes


def _apply(net: Net, command: IpvsCommand) -> None:
    spec, server = command.service, command.server
    if command.do == "C":
        ip_vs_flush(net)
        return
    if command.do == "set":
        ip_vs_set_timeouts(net, *command.timeouts_s)
        return
    if command.do == "A":
        ip_vs_add_service(net, spec)
        return
    ipvs = net.generic(Ipvs)
    service = ipvs.find_exact(spec.fwmark, spec.protocol, spec.address, spec.port)
    if service is None:
        raise RulesetError("No such service" if command.do in "ED" else "Service not defined")
    if command.do == "E":
        ip_vs_edit_service(net, service, spec)
    elif command.do == "D":
        ip_vs_del_service(net, service)
    else:
        assert server is not None
        _apply_server(net, command.do, service, server)


def _apply_server(net: Net, do: str, service: VirtualServer, server: RealServerSpec) -> None:
    if do in "ae" and server.forward != IP_VS_CONN_F_MASQ and not service.fwmark:
        # ipvsadm itself: only masquerading can change the port.
        server.port = service.port
    if do == "a":
        ip_vs_add_dest(net, service, server)
    elif do == "e":
        ip_vs_edit_dest(net, service, server)
    else:
        ip_vs_del_dest(net, service, server.address, server.port)


# Rules.


class _Line:
    """The words of one line, taken from the left."""

    def __init__(self, text: str, file: str, number: int) -> None:
        self.text = text
        self.file = file
        self.number = number
        self._words = list(re.finditer(r"\S+", text))
        self._at = 0

    def more(self) -> bool:
        """Return whether there are words left."""
        return self._at < len(self._words)

    def peek(self) -> str:
        """Return the next word, empty at the end."""
        return self._words[self._at].group() if self.more() else ""

    def take(self, what: str = "") -> str:
        """Return the next word and go on; `what` is an option that needs it."""
        if not self.more():
            raise self.error(f'option "{what}" requires an argument')
        self._at += 1
        return self._words[self._at - 1].group()

    def error(self, message: str) -> RulesetError:
        """Return an error about the word that was taken last."""
        at = min(max(self._at - 1, 0), len(self._words) - 1)
        return RulesetError(
            message,
            file=self.file,
            line=self.number,
            column=self._words[at].start() + 1,
            context=self.text,
        )

    def number_of(self, option: str, low: int, high: int) -> int:
        """Take a number within bounds."""
        word = self.take(option)
        if not word.isdigit() or not low <= int(word) <= high:
            raise self.error(f'illegal value "{word}" of {option}; {low} to {high} would be right')
        return int(word)


class _Draft(Struct):
    """What the options of one line said."""

    do: str = ""
    service: VirtualServerSpec = field(default_factory=VirtualServerSpec)
    named: bool = False
    address: bytes = b""
    port: int | None = None
    weight: int = 1
    forward: int = IP_VS_CONN_F_DROUTE
    u_threshold: int = 0
    l_threshold: int = 0
    tunnel_kind: TunnelType = TunnelType.IPIP
    tunnel_port: int = 0
    tunnel_sum: str = ""
    flag_names: str = ""
    timeouts_s: tuple[int, ...] = ()


Reader = Callable[[_Line, str, _Draft], None]

_COMMANDS = {
    "-A": "A", "--add-service": "A", "-E": "E", "--edit-service": "E",
    "-D": "D", "--delete-service": "D", "-a": "a", "--add-server": "a",
    "-e": "e", "--edit-server": "e", "-d": "d", "--delete-server": "d",
    "-C": "C", "--clear": "C", "--set": "set",
}  # fmt: skip


def _end_of(line: _Line, word: str) -> tuple[bytes, int | None]:
    """Read ADDRESS or ADDRESS:PORT."""
    if word.startswith("["):
        raise _Ipv6Error
    address, colon, port = word.partition(":")
    found = dotted_octets(address)
    if found is None:
        raise line.error(f'illegal address "{address}"; numbers as in ipvsadm -Sn would be right')
    if not colon:
        return found, None
    try:
        number = resolve_port(port)
    except RulesetError:
        number = MAXIMUM_PORT + 1
    if number > MAXIMUM_PORT or (port.isdigit() and int(port) > MAXIMUM_PORT):
        raise line.error(f'illegal port "{port}"; 0 to 65535 would be right')
    return found, number


def _service_option(protocol: int) -> Reader:
    def read(line: _Line, option: str, draft: _Draft) -> None:
        address, port = _end_of(line, line.take(option))
        draft.service.protocol, draft.service.address = protocol, address
        draft.service.port = port or 0
        draft.named = True

    return read


def _mark_of(line: _Line, word: str) -> int:
    """Read a mark; ipvsadm prints one of 2^31 and more as a negative number."""
    number = int(word) if re.fullmatch(r"-?\d+", word) else 0
    if not number or not -(1 << 31) <= number < 1 << 32:
        raise line.error(f'illegal mark "{word}"; a number from 1 to 4294967295 would be right')
    return number & 0xFFFFFFFF


def _mark_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.service.fwmark = _mark_of(line, line.take(option))
    draft.named = True


def _scheduler_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.service.scheduler = line.take(option)


def _persistent_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.service.flags |= ServiceFlag.PERSISTENT
    draft.service.timeout_s = DEFAULT_PERSISTENCE_S
    if line.peek().isdigit():
        draft.service.timeout_s = line.number_of(option, 1, MAXIMUM_TIMEOUT_S)


def _netmask_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.service.netmask, _ = _end_of(line, line.take(option))


def _ops_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.service.flags |= ServiceFlag.ONEPACKET


def _engine_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.service.engine = line.take(option)


def _flags_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.flag_names = line.take(option)


def _server_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.address, draft.port = _end_of(line, line.take(option))


def _forward_option(method: int) -> Reader:
    def read(line: _Line, option: str, draft: _Draft) -> None:
        draft.forward = method

    return read


def _weight_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.weight = line.number_of(option, 0, 65535)


def _upper_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.u_threshold = line.number_of(option, 0, 0x7FFFFFFF)


def _lower_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.l_threshold = line.number_of(option, 0, 0x7FFFFFFF)


def _tunnel_type_option(line: _Line, option: str, draft: _Draft) -> None:
    word = line.take(option)
    kinds = {kind.name.lower(): kind for kind in TunnelType}
    if word not in kinds:
        raise line.error(f'illegal tunnel type "{word}"; ipip, gue or gre would be right')
    draft.tunnel_kind = kinds[word]


def _tunnel_port_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.tunnel_port = line.number_of(option, 1, 65535)


def _tunnel_sum_option(line: _Line, option: str, draft: _Draft) -> None:
    draft.tunnel_sum = option


def _nothing(line: _Line, option: str, draft: _Draft) -> None:
    """Take an option that changes nothing, such as --numeric."""


_OPTIONS: dict[str, Reader] = {
    "-t": _service_option(IPPROTO_TCP), "--tcp-service": _service_option(IPPROTO_TCP),
    "-u": _service_option(IPPROTO_UDP), "--udp-service": _service_option(IPPROTO_UDP),
    "--sctp-service": _service_option(IPPROTO_SCTP),
    "-f": _mark_option, "--fwmark-service": _mark_option,
    "-s": _scheduler_option, "--scheduler": _scheduler_option,
    "-p": _persistent_option, "--persistent": _persistent_option,
    "-M": _netmask_option, "--netmask": _netmask_option,
    "-o": _ops_option, "--ops": _ops_option,
    "--pe": _engine_option,
    "-b": _flags_option, "--sched-flags": _flags_option,
    "-r": _server_option, "--real-server": _server_option,
    "-g": _forward_option(IP_VS_CONN_F_DROUTE),
    "--gatewaying": _forward_option(IP_VS_CONN_F_DROUTE),
    "-m": _forward_option(IP_VS_CONN_F_MASQ), "--masquerading": _forward_option(IP_VS_CONN_F_MASQ),
    "-i": _forward_option(IP_VS_CONN_F_TUNNEL), "--ipip": _forward_option(IP_VS_CONN_F_TUNNEL),
    "-w": _weight_option, "--weight": _weight_option,
    "-x": _upper_option, "--u-threshold": _upper_option,
    "-y": _lower_option, "--l-threshold": _lower_option,
    "--tun-type": _tunnel_type_option, "--tun-port": _tunnel_port_option,
    "--tun-nocsum": _tunnel_sum_option, "--tun-csum": _tunnel_sum_option,
    "--tun-remcsum": _tunnel_sum_option,
    "-n": _nothing, "--numeric": _nothing, "-4": _nothing, "--ipv4": _nothing,
}  # fmt: skip


def _rule_lines(text: str, file: str) -> Iterator[IpvsCommand | None]:
    for number, content in enumerate(text.splitlines(), 1):
        if not content.strip() or content.lstrip().startswith("#"):
            continue
        try:
            yield _rule(_Line(content, file, number))
        except _Ipv6Error:
            yield None


def _rule(line: _Line) -> IpvsCommand:
    draft = _Draft()
    while line.more():
        option = line.take()
        if option in {"-6", "--ipv6"}:
            raise _Ipv6Error
        if option in _COMMANDS:
            if draft.do:
                raise line.error("multiple commands specified; one per line would be right")
            draft.do = _COMMANDS[option]
            if draft.do == "set":
                draft.timeouts_s = tuple(
                    line.number_of(option, 0, MAXIMUM_TIMEOUT_S) for _ in ("tcp", "tcpfin", "udp")
                )
        elif option in _OPTIONS:
            _OPTIONS[option](line, option, draft)
        else:
            raise line.error(f'unknown option "{option}"; a line of ipvsadm -Sn would be right')
    if not draft.do:
        raise line.error("no command specified; -A or -a would be right")
    if draft.do not in {"C", "set"} and not draft.named:
        raise line.error("no service specified; -t, -u, --sctp-service or -f would be right")
    _set_flags(line, draft)
    service = draft.service
    if draft.do in "AE" and not (service.port or service.fwmark):
        if not service.flags & ServiceFlag.PERSISTENT:
            raise line.error("Zero port specified for non-persistent service")
    server = None
    if draft.do in "aed":
        if not draft.address:
            raise line.error("no real server specified; -r ADDRESS:PORT would be right")
        server = _server_of(draft)
    return IpvsCommand(
        line=line.number,
        do=draft.do,
        service=draft.service,
        server=server,
        timeouts_s=draft.timeouts_s,
        text=line.text,
    )


_FLAG_BITS = {
    "flag-1": ServiceFlag.SCHED1, "flag-2": ServiceFlag.SCHED2, "flag-3": ServiceFlag.SCHED3,
    "sh-fallback": ServiceFlag.SCHED1, "sh-port": ServiceFlag.SCHED2,
    "mh-fallback": ServiceFlag.SCHED1, "mh-port": ServiceFlag.SCHED2,
}  # fmt: skip


def _set_flags(line: _Line, draft: _Draft) -> None:
    for name in filter(None, draft.flag_names.split(",")):
        bit = _FLAG_BITS.get(name)
        if bit is None or name[:2] not in {"fl", draft.service.scheduler}:
            raise line.error(
                f'illegal scheduling flag "{name}"; sh and mh have -fallback and -port'
            )
        draft.service.flags |= bit


def _server_of(draft: _Draft) -> RealServerSpec:
    return RealServerSpec(
        address=draft.address,
        port=draft.service.port if draft.port is None else draft.port,
        weight=draft.weight,
        forward=draft.forward,
        u_threshold=draft.u_threshold,
        l_threshold=draft.l_threshold,
        tunnel=Tunnel(
            draft.tunnel_kind,
            draft.tunnel_port,
            draft.tunnel_sum == "--tun-csum",
            draft.tunnel_sum == "--tun-remcsum",
        ),
    )


# Lists.

_PROTOCOL_WORDS = {"TCP": IPPROTO_TCP, "UDP": IPPROTO_UDP, "SCTP": IPPROTO_SCTP}
_METHODS = {word: method for method, word in FORWARD_WORDS.items()}
_SERVICE_LINE = re.compile(r"(TCP|UDP|SCTP|FWM)\s+(\S+)\s+(IPv6\s+)?(\S+)(.*)$")
_SERVER_LINE = re.compile(r"\s+->\s+(\S+)\s+(\w+)\s+(\d+)\s+\d+\s+\d+\s*$")
_HEADINGS = ("IP Virtual Server version", "Prot LocalAddress:Port", "-> RemoteAddress:Port")


def _is_list(text: str) -> bool:
    return text.lstrip().startswith(_HEADINGS[:2])


def _list_lines(text: str, file: str) -> Iterator[IpvsCommand | None]:
    service: VirtualServerSpec | None = None
    for number, content in enumerate(text.splitlines(), 1):
        if not content.strip() or content.strip().startswith(_HEADINGS):
            continue
        line = _Line(content, file, number)
        try:
            if content[0].isspace():
                if service is not None:
                    yield _listed_server(line, service)
            else:
                service = None
                service = _listed_service(line)
                yield IpvsCommand(line=number, do="A", service=service, text=content)
        except _Ipv6Error:
            yield None


def _listed_service(line: _Line) -> VirtualServerSpec:
    found = _SERVICE_LINE.match(line.text)
    if found is None:
        raise line.error("neither a virtual nor a real server; ipvsadm -Ln prints other lines")
    word, name, ipv6, scheduler, rest = found.groups()
    if ipv6:
        raise _Ipv6Error
    draft = _Draft(service=VirtualServerSpec(scheduler=scheduler))
    if word == "FWM":
        draft.service.fwmark = _mark_of(line, name)
    else:
        address, port = _end_of(line, name)
        draft.service.protocol = _PROTOCOL_WORDS[word]
        draft.service.address, draft.service.port = address, port or 0
    if flags := re.search(r"\(([\w,-]+)\)", rest):
        draft.flag_names = flags[1]
        _set_flags(line, draft)
    if persistent := re.search(r"persistent (\d+)", rest):
        draft.service.flags |= ServiceFlag.PERSISTENT
        draft.service.timeout_s = int(persistent[1])
    if mask := re.search(r"mask (\S+)", rest):
        draft.service.netmask, _ = _end_of(line, mask[1])
    if engine := re.search(r"pe (\S+)", rest):
        draft.service.engine = engine[1]
    if re.search(r"\bops\b", rest):
        draft.service.flags |= ServiceFlag.ONEPACKET
    return draft.service


def _listed_server(line: _Line, service: VirtualServerSpec) -> IpvsCommand:
    found = _SERVER_LINE.match(line.text)
    if found is None or found[2] not in _METHODS:
        raise line.error("no real server; `-> ADDRESS:PORT METHOD WEIGHT ACTIVE INACTIVE` is one")
    address, port = _end_of(line, found[1])
    server = RealServerSpec(
        address=address,
        port=port or 0,
        weight=int(found[3]),
        forward=_METHODS[found[2]],
    )
    return IpvsCommand(line=line.number, do="a", service=service, server=server, text=line.text)
