"""A line in the kernel log: target `LOG`.

Kernel: net/netfilter/xt_LOG.c (log_tg), net/netfilter/nf_log_syslog.c.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kinds import Kind, OptionCall, Text, c_integer, shape
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.log import LogFlags, nf_log_ip_packet
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb

LEVELS = {
    "emerg": 0,
    "panic": 0,
    "alert": 1,
    "crit": 2,
    "error": 3,
    "warning": 4,
    "notice": 5,
    "info": 6,
    "debug": 7,
}
"""Names that iptables knows (xtables_syslog_level); `err` and `warn` are not among them."""

DEFAULT_LEVEL = 4
"""LOG_DEFAULT_LEVEL of libxt_LOG: LOG_WARNING."""

_FLAGS = {
    "log-tcp-sequence": LogFlags.TCPSEQ,
    "log-tcp-options": LogFlags.TCPOPT,
    "log-ip-options": LogFlags.IPOPT,
    "log-uid": LogFlags.UID,
    "log-macdecode": LogFlags.MACDECODE,
}


class Level(Kind[int]):
    """A syslog level by name or number, printed as a number (XTTYPE_SYSLOGLEVEL)."""

    form = "0-7|NAME"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Look the name up."""
        level = LEVELS.get(text, 8)
        if shape("NUMBER").fullmatch(text) is not None:
            level = c_integer(text)
        if level > 7:
            raise RulesetError(f'log level "{text}" unknown; 0-7 or {", ".join(LEVELS)} would do')
        return level

    def show(self, value: int) -> str:
        """Print the number."""
        return str(value)


class Log:
    """struct xt_log_info; the level is no part of the text."""

    __slots__ = ("logflags", "prefix")

    def __init__(self, settings: Settings) -> None:
        """Gather the flags."""
        self.prefix = settings.get("log-prefix", str, "")
        self.logflags = 0
        for name, flag in _FLAGS.items():
            if name in settings:
                self.logflags |= flag


def log_tg(info: Log, skb: Skb, param: XtParam) -> Verdict | None:
    """Write the line and go on."""
    nf_log_ip_packet(param.net, skb, param.in_device, param.out_device, info.logflags, info.prefix)
    return None


def _check_log(settings: Settings) -> None:
    if "\n" in settings.get("log-prefix", str, ""):
        raise RulesetError("Newlines not allowed in --log-prefix")


TARGETS = (
    Target(
        name="LOG",
        kernel="xt_LOG.c",
        duty="Writes a line about the packet to the kernel log, then goes on with the next rule.",
        options=(
            Option(
                "log-prefix",
                Text(least=1, cut=29),
                help="Stands at the start of the line; cut to 29 octets.",
                says="the line begins with {value}",
            ),
            Option(
                "log-level",
                Level(),
                silent=DEFAULT_LEVEL,
                help="Level of the line; 4 or warning unasked.",
                says="at level {value}",
            ),
            Option("log-tcp-sequence", help="Adds SEQ= and ACK=."),
            Option("log-tcp-options", help="Adds the TCP options in hexadecimal."),
            Option("log-ip-options", help="Adds the IP options in hexadecimal."),
            Option("log-uid", help="Adds the owner of the local socket."),
            Option("log-macdecode", help="Names the parts of the Ethernet header."),
        ),
        check=_check_log,
        shares=always,
        build=Log,
        apply=log_tg,
        effect=changes_nothing,
        told=True,
    ),
)
