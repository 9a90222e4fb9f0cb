"""Random targets, as the table and the chain allow."""

from __future__ import annotations

from collections.abc import Callable

from netemu.livekernel.generate.context import RuleContext
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.matches import WITH_PORTS, any_port, mark_text
from netemu.livekernel.generate.sets import set_target
from netemu.livekernel.generate.world import SERVICE_PORTS
from netemu.wire.address import format_address

REJECT_TYPES = (
    "icmp-net-unreachable",
    "icmp-host-unreachable",
    "icmp-port-unreachable",
    "icmp-proto-unreachable",
    "icmp-net-prohibited",
    "icmp-host-prohibited",
    "icmp-admin-prohibited",
)

Maker = Callable[[Dice, RuleContext], str]


def random_target(dice: Dice, context: RuleContext) -> str:
    """Return `-j TARGET OPTIONS`, `-g CHAIN`, or "" for a rule that only counts."""
    choices: list[tuple[int, Maker]] = [
        (3, _accept),
        (2, _return),
        (2, _log),
        (1, _nothing),
    ]
    if context.user_chains:
        choices.append((5, _jump))
    if context.sets:
        choices.append((5, set_target))
    choices += _OF_TABLE[context.table](context)
    return dice.weighted(choices)(dice, context)


def _filter_targets(context: RuleContext) -> list[tuple[int, Maker]]:
    return [(2, _drop), (4, _reject), (1, _mark)]


def _raw_targets(context: RuleContext) -> list[tuple[int, Maker]]:
    return [(1, _drop), (2, _ct), (1, _trace)]


def _mangle_targets(context: RuleContext) -> list[tuple[int, Maker]]:
    choices: list[tuple[int, Maker]] = [(1, _drop), (6, _mark), (4, _connmark), (2, _header)]
    if context.protocol == "tcp" and not context.has_ports:
        choices.append((3, _tcp_options))
    return choices


def _security_targets(context: RuleContext) -> list[tuple[int, Maker]]:
    return [(1, _drop)]


def _nat_targets(context: RuleContext) -> list[tuple[int, Maker]]:
    choices: list[tuple[int, Maker]] = [(1, _connmark), (1, _mark)]
    if context.hooks <= {"PREROUTING", "OUTPUT"}:
        choices += [(12, _dnat), (3, _redirect), (1, _netmap)]
    if context.hooks <= {"POSTROUTING", "INPUT"}:
        choices += [(7, _snat), (1, _netmap)]
    if context.hooks <= {"POSTROUTING"}:
        choices.append((7, _masquerade))
    return choices


_OF_TABLE: dict[str, Callable[[RuleContext], list[tuple[int, Maker]]]] = {
    "filter": _filter_targets,
    "raw": _raw_targets,
    "mangle": _mangle_targets,
    "security": _security_targets,
    "nat": _nat_targets,
}


def _accept(dice: Dice, context: RuleContext) -> str:
    return "-j ACCEPT"


def _drop(dice: Dice, context: RuleContext) -> str:
    return "-j DROP"


def _return(dice: Dice, context: RuleContext) -> str:
    return "-j RETURN"


def _nothing(dice: Dice, context: RuleContext) -> str:
    return ""


def _trace(dice: Dice, context: RuleContext) -> str:
    return "-j TRACE"


def _jump(dice: Dice, context: RuleContext) -> str:
    return f"-{dice.weighted([(5, 'j'), (1, 'g')])} {dice.pick(context.user_chains)}"


def _log(dice: Dice, context: RuleContext) -> str:
    words = ["-j LOG"]
    if dice.chance(60):
        words.append(f"--log-prefix {dice.pick(('DROP', 'fw:', 'a_b', '[x]'))}" if dice.chance(50)
                     else f'--log-prefix "{dice.pick(("IN drop: ", "two words "))}"')  # fmt: skip
    if dice.chance(20):
        words.append(f"--log-level {dice.pick(('4', '6', 'info', 'debug', 'warning'))}")
    words += dice.some(
        (
            "--log-tcp-sequence",
            "--log-tcp-options",
            "--log-ip-options",
            "--log-uid",
            "--log-macdecode",
        ),
        20,
    )
    return " ".join(words)


def _reject(dice: Dice, context: RuleContext) -> str:
    if context.protocol == "tcp" and dice.chance(50):
        return "-j REJECT --reject-with tcp-reset"
    if dice.chance(30):
        return "-j REJECT"
    return f"-j REJECT --reject-with {dice.pick(REJECT_TYPES)}"


def _ct(dice: Dice, context: RuleContext) -> str:
    return dice.weighted(
        [
            (3, "-j CT --notrack"),
            (2, "-j NOTRACK"),
            (2, f"-j CT --zone {dice.between(1, 3)}"),
            (1, "-j CT --ctevents new,destroy"),
            (1, f"-j CT --zone-orig {dice.between(1, 2)}"),
        ]
    )


def _mark(dice: Dice, context: RuleContext) -> str:
    form = dice.pick(("--set-xmark", "--set-mark", "--or-mark", "--and-mark", "--xor-mark"))
    if form.startswith("--set"):
        return f"-j MARK {form} {mark_text(dice)}"
    return f"-j MARK {form} {dice.pick(('0x1', '0x4000', '0xfffffffe', '0xff'))}"


def _connmark(dice: Dice, context: RuleContext) -> str:
    if dice.chance(40):
        return f"-j CONNMARK --set-xmark {mark_text(dice)}"
    if dice.chance(15):
        form = dice.pick(("--and-mark", "--or-mark", "--xor-mark"))
        return f"-j CONNMARK {form} 0x{dice.between(1, 255):x}"
    verb = dice.pick(("--save-mark", "--restore-mark"))
    if dice.chance(40):
        masks = (
            "",
            " --nfmask 0xff --ctmask 0xff",
            " --mask 0xffff",
            " --nfmask 0xf0 --ctmask 0xff0",
        )
        return f"-j CONNMARK {verb}{dice.pick(masks)}"
    return f"-j CONNMARK {verb}"


def _header(dice: Dice, context: RuleContext) -> str:
    return dice.pick(
        (
            "-j TTL --ttl-set 5",
            "-j TTL --ttl-dec 1",
            "-j TTL --ttl-inc 3",
            "-j TOS --set-tos 0x10",
            "-j TOS --set-tos 0x8/0x3c",
            "-j DSCP --set-dscp 0x2e",
            "-j CHECKSUM --checksum-fill",
            "-j CLASSIFY --set-class 1:2",
        )
    )


def _tcp_options(dice: Dice, context: RuleContext) -> str:
    context.has_ports = True
    return dice.pick(
        (
            "-m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 536",
            "-m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
            "-j TCPOPTSTRIP --strip-options timestamp,sack-permitted",
            "-j ECN --ecn-tcp-remove",
        )
    )


def _netmap(dice: Dice, context: RuleContext) -> str:
    near = context.world.hosts[0].address[:3] + b"\0"
    return f"-j NETMAP --to {dice.pick((format_address(near), '192.0.2.0'))}/24"


def _target_address(dice: Dice, context: RuleContext) -> bytes:
    hosts = [host.address for host in context.world.hosts]
    return dice.pick(context.world.pods if context.world.pods and dice.chance(30) else hosts)


def _dnat(dice: Dice, context: RuleContext) -> str:
    address = format_address(_target_address(dice, context))
    if dice.chance(12):
        low = _target_address(dice, context)
        address = (
            f"{format_address(low)}-{format_address(low[:3] + bytes((min(255, low[3] + 3),)))}"
        )
    text = address
    if context.protocol in WITH_PORTS:
        port = dice.pick(SERVICE_PORTS)
        text = dice.weighted(
            [(3, address), (5, f"{address}:{port}"), (1, f":{port}"), (1, f"{address}:8000-8003")]
        )
    return f"-j DNAT --to-destination {text}{' --persistent' * dice.chance(8)}"


def _snat(dice: Dice, context: RuleContext) -> str:
    own = format_address(dice.pick(context.world.own)) if context.world.own else "10.9.9.9"
    address = dice.weighted([(6, own), (1, "192.0.2.77"), (1, "192.0.2.80-192.0.2.90")])
    if context.protocol in WITH_PORTS and dice.chance(20):
        address += f":{any_port(dice)}"
    random = dice.weighted([(12, ""), (1, " --random"), (1, " --random-fully")])
    return f"-j SNAT --to-source {address}{random}{' --persistent' * dice.chance(8)}"


def _masquerade(dice: Dice, context: RuleContext) -> str:
    random = dice.weighted([(9, ""), (1, " --random"), (1, " --random-fully")])
    if context.protocol in WITH_PORTS and dice.chance(10):
        low = any_port(dice)
        high = f"-{low + 50}" if random and low < 65000 else ""
        return f"-j MASQUERADE --to-ports {low}{high}{random}"
    return f"-j MASQUERADE{random}"


def _redirect(dice: Dice, context: RuleContext) -> str:
    if context.protocol in WITH_PORTS and dice.chance(70):
        return f"-j REDIRECT --to-ports {dice.pick(SERVICE_PORTS)}"
    return "-j REDIRECT"
