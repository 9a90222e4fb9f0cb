"""Where a random rule stands, and addresses and devices for it to name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct, field

from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.world import FAR_NETS, VIPS, World
from netemu.wire.address import format_address


class SetSketch(NamedTuple):
    """One IP set, as far as rules need it."""

    name: str
    kind: str
    extensions: tuple[str, ...]
    grows: bool = True
    """Whether rules may add to it."""

    @property
    def dimension(self) -> int:
        """How many directions a rule must give."""
        return 1 if self.kind == "list:set" else self.kind.count(",") + 1


class RuleContext(Struct):
    """Where a rule stands, which limits what it may say."""

    world: World
    table: str
    chain: str
    """Name of the chain; a built-in one or a user's."""
    hooks: frozenset[str]
    """Built-in chains from which the rule can be reached."""
    user_chains: list[str] = field(default_factory=list)
    """Chains that may be jumped to from here."""
    sets: Sequence[SetSketch] = ()
    """IP sets that rules may name."""
    protocol: str = ""
    """Of `-p`, without inversion; empty when the rule says none or inverts it."""
    has_ports: bool = False
    """Whether the rule has a `-m tcp` or `-m udp` already."""

    def address(self, dice: Dice) -> bytes:
        """Draw an address that traffic is likely to have."""
        pools = [
            (3, [host.address for host in self.world.hosts]),
            (2, self.world.own or [bytes(4)]),
            (2, list(VIPS)),
            (1, self.world.pods or list(VIPS)),
        ]
        return dice.pick(dice.weighted(pools))

    def network(self, dice: Dice) -> str:
        """Draw a network."""
        networks = [f"{format_address(prefix)}/{length}" for prefix, length in self.world.networks]
        return dice.pick([*networks, *FAR_NETS, "10.96.0.0/12", "10.0.0.0/8", "0.0.0.0/1"])

    def device(self, dice: Dice) -> str:
        """Draw a device of the main namespace, now and then a wildcard."""
        name = dice.pick([link.name for link in self.world.main.links])
        return dice.weighted([(12, name), (2, name[:3] + "+"), (1, "+"), (1, "wlan0")])
