"""The IPsec policy of the packet: match `policy`.

Kernel: net/netfilter/xt_policy.c (policy_mt, policy_mt_check).

Differs from Linux: netemu has no IPsec, so that no packet came or goes under a policy: `--pol none`
holds for every packet and `--pol ipsec` for none, as in a Linux without xfrm states and policies.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from netemu.errors import RulesetError
from netemu.netfilter.hook import Hook
from netemu.netfilter.xtables.hosts import LooseHostMask
from netemu.netfilter.xtables.kinds import U32, U32_MAX, Kind, OptionCall, Unsigned
from netemu.netfilter.xtables.kit import Given, Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.protocols import ProtocolNumber
from netemu.netfilter.xtables.space import own_answer
from netemu.skb import Skb

MAX_ELEMENTS = 4
"""XT_POLICY_MAX_ELEM."""

PROTOCOLS = {50: "esp", 51: "ah", 108: "ipcomp"}

_PRINTED = ("reqid", "spi", "proto", "mode", "tunnel-dst", "tunnel-src")
_TUNNEL = ("tunnel-src", "tunnel-dst")


class Word(Kind[str]):
    """One of two words, in small letters."""

    terminal = "TEXT"
    may_be_empty = True

    def __init__(self, what: str, *words: str) -> None:
        """Name what is invalid when it is none of them."""
        self.what = what
        self.words = words
        self.form = "|".join(words)

    def read(self, text: str, call: OptionCall) -> str:
        """Accept the word as it is."""
        if text not in self.words:
            raise RulesetError(
                f'policy match: invalid {self.what} "{text}"; it takes {" or ".join(self.words)}'
            )
        return text

    def show(self, value: str) -> str:
        """Print the word."""
        return value


class IpsecProtocol(ProtocolNumber):
    """ah, esp or ipcomp, by name or number."""

    def read(self, text: str, call: OptionCall) -> int:
        """Refuse all other protocols."""
        number = super().read(text, call)
        if number not in PROTOCOLS:
            raise RulesetError("policy match: protocol must be ah/esp/ipcomp")
        return number

    def show(self, value: int) -> str:
        """Print the name."""
        return PROTOCOLS[value]


class PolicyElement(Struct):
    """What is asked of one transformation (struct xt_policy_elem)."""

    given: dict[str, Given] = field(default_factory=dict)

    def text(self) -> str:
        """Print in the order of iptables-save."""
        words = []
        for name in _PRINTED:
            if name in self.given:
                one = self.given[name]
                bang = "! " if one.inverted else ""
                words.append(f"{bang}--{name} {one.option.kind.show(one.value)}")
        return " ".join(words)


class PolicyInfo:
    """struct xt_policy_info."""

    __slots__ = ("direction", "elements", "none", "strict")

    def __init__(self, settings: Settings) -> None:
        """Sort the options into elements, which --next separates."""
        self.direction = settings.get("dir", str, "")
        self.none = settings.get("pol", str, "ipsec") == "none"
        self.strict = "strict" in settings
        self.elements = [PolicyElement()]
        for given in settings.order:
            name = given.option.name
            if name == "next":
                self.elements.append(PolicyElement())
            elif name in _PRINTED:
                element = self.elements[-1].given
                if name in element:
                    raise RulesetError(f"policy match: double --{name} option")
                element[name] = given
            if len(self.elements) > MAX_ELEMENTS:
                raise RulesetError(
                    f"policy match: maximum policy depth reached, which is {MAX_ELEMENTS}"
                )


def policy_mt(info: PolicyInfo, skb: Skb, param: XtParam) -> bool:
    """Hold for `--pol none`: nothing here is under a policy."""
    return info.none


def describe_policy(info: PolicyInfo, skb: Skb, param: XtParam) -> str:
    """Say that there is no policy."""
    return "no IPsec policy"


def _check_policy(settings: Settings) -> None:
    info = PolicyInfo(settings)
    if not info.direction:
        raise RulesetError("policy match: neither --dir in nor --dir out specified")
    if info.none:
        if info.strict:
            raise RulesetError("policy match: policy none but --strict given")
        if len(info.elements) > 1:
            raise RulesetError("policy match: policy none but policy given")
        return
    for number, element in enumerate(info.elements):
        _check_element(info, number, element.given)


def _check_element(info: PolicyInfo, number: int, given: dict[str, Given]) -> None:
    if info.strict and not given:
        raise RulesetError(
            f"policy match: empty policy element {number}. --strict is in effect, but at least "
            "one of reqid, spi, tunnel-src, tunnel-dst, proto or mode is required."
        )
    mode = given.get("mode")
    tunnel = mode is not None and (mode.value == "tunnel") != mode.inverted
    if any(name in given for name in _TUNNEL) and not tunnel:
        raise RulesetError("policy match: --tunnel-src/--tunnel-dst is only valid in tunnel mode")


def _check_hooks(settings: Settings, hooks: frozenset[Hook]) -> None:
    """Refuse a direction that the packet has not taken (policy_mt_check)."""
    direction = settings.need("dir", str)
    if direction == "out" and hooks & {Hook.PREROUTING, Hook.INPUT}:
        raise RulesetError("policy: --dir out is not valid in PREROUTING and INPUT")
    if direction == "in" and hooks & {Hook.POSTROUTING, Hook.OUTPUT}:
        raise RulesetError("policy: --dir in is not valid in POSTROUTING and OUTPUT")


def _save_policy(settings: Settings) -> str:
    """Print direction and policy always, elements but for `none`."""
    info = PolicyInfo(settings)
    words = [f"--dir {info.direction} --pol {'none' if info.none else 'ipsec'}"]
    if info.strict:
        words.append("--strict")
    if not info.none:
        words.append(" --next ".join(element.text() for element in info.elements))
    return " ".join(filter(None, words))


def _element_option(name: str, kind: Kind[Any], text: str) -> Option:
    return Option(name, kind, multiple=True, invertible=True, help=text)


MATCHES = (
    Match(
        name="policy",
        kernel="xt_policy.c",
        duty="Compares the packet's IPsec policy, which in netemu is always none.",
        options=(
            Option("dir", Word("dir", "in", "out"), help="in or out."),
            Option("pol", Word("policy", "none", "ipsec"), help="none or ipsec."),
            Option("strict", help="Elements are the whole policy, in order."),
            _element_option("reqid", U32(), "Id of the policy."),
            _element_option("spi", Unsigned(0, U32_MAX, hexadecimal=True), "SPI."),
            _element_option("proto", IpsecProtocol(), "ah, esp or ipcomp."),
            _element_option("mode", Word("mode", "transport", "tunnel"), "transport or tunnel."),
            _element_option("tunnel-dst", LooseHostMask(), "Where the tunnel ends."),
            _element_option("tunnel-src", LooseHostMask(), "Where the tunnel begins."),
            Option("next", multiple=True, requires=("strict",), help="Begins the next element."),
        ),
        check=_check_policy,
        check_hooks=_check_hooks,
        save=_save_policy,
        shares=always,
        build=PolicyInfo,
        evaluate=policy_mt,
        packets=own_answer,
        describe=describe_policy,
    ),
)
