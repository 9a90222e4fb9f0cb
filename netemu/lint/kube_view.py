"""A rule file as Services see it, and the engine to try packets on.

Kernel: none.

What the engine needs is imported when the first packet is tried: most files have no Services.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from netemu.errors import NetemuError
from netemu.kube.check.fault import Claim, Probe
from netemu.kube.check.reading import KubeRules, detected_pods
from netemu.kube.check.ways import endpoints_of
from netemu.lint.finding import Witness
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.model import Ruleset
from netemu.sim.spec import NodeSpec

if TYPE_CHECKING:
    from netemu.lint.kube_probe import KubeProbe, Run


class KubeView:
    """The Services' chains of one rule file."""

    def __init__(
        self,
        ruleset: Ruleset,
        find_node: Callable[[], NodeSpec | None],
        file: str,
        trace_words: tuple[str, ...] = (),
    ) -> None:
        """Look at what was read of a file; its node is asked for when a packet is tried."""
        self.rules = KubeRules(ruleset)
        self._file = file
        self._trace_words = trace_words
        self.node_ip = ""
        self.pods: tuple[str, ...] = ()
        """Addresses of pods that are known to be on this node."""
        self.local_range = ""
        """The prefix of all pods; empty: as the rules tell."""
        self.covered: frozenset[str] = frozenset()
        """Chains about which the comparison with objects has told the cause."""
        self.unconfirmed = 0
        """Findings that no packet showed."""
        self._find_node = find_node
        self._probe: KubeProbe | None = None

    @property
    def walks(self) -> bool:
        """Whether the engine walks such packets: it does those of IPv4."""
        return self.rules.ruleset.family is Family.IPV4

    def tried(self, claim: Claim, probes: Iterable[Probe]) -> tuple[bool, Witness | None]:
        """Return whether a claim may be told, and the packet that shows it.

        What is said of IPv6 nobody can try.
        """
        if not self.walks:
            return True, None
        run = self._shown(claim, probes)
        if run is None:
            self.unconfirmed += 1
            return False, None
        return True, self._witness(run)

    def _shown(self, claim: Claim, probes: Iterable[Probe]) -> Run | None:
        """Return a run that shows a claim; None, too, where there is no node or none can be."""
        try:
            probe = self._probing()
            return None if probe is None else probe.shown(claim, probes)
        except NetemuError:
            return None

    def _probing(self) -> KubeProbe | None:
        node = self._find_node() if self._probe is None else None
        if node is not None:
            from netemu.lint.kube_probe import KubeProbe  # noqa: PLC0415 - the whole engine

            self._file = node.source or self._file
            self._probe = KubeProbe(
                node,
                self.rules,
                node_ip=self.node_ip,
                pods=self.pods,
                local_range=self.local_range or self._range(),
            )
        return self._probe

    def _range(self) -> str:
        """Return the prefix of pods as the rules tell it, or that of the first endpoint."""
        told, _ = detected_pods(self.rules)
        if "/" in told:
            return told
        first = next((endpoint for _, endpoint in endpoints_of(self.rules)), "")
        return f"{first.rpartition('.')[0]}.0/24" if first.count(".") == 3 else ""

    def _witness(self, run: Run) -> Witness:
        sent = run.sent
        where = ["--local"] if sent.local else ["--in", sent.device] if sent.device else []
        entry = "" if sent.local or not sent.device else f"{sent.device}="
        after = [word for packet in sent.setup for word in ("--after", entry + packet)]
        words = ["netemu", "trace", self._file, sent.packet, *where, *after, *self._trace_words]
        words += ["--outcomes"] * (run.share != 1)
        return Witness(
            packet=sent.packet,
            device=sent.device,
            local=sent.local,
            setup=sent.setup,
            command=shlex.join(words),
            outcome=_told(run),
        )


def _told(run: Run) -> str:
    """Return what became of a packet in few words."""
    if run.verdict in {"DROP", "REJECT"}:
        return run.verdict
    parts = [f"sent to {run.dnat}" if run.dnat else "goes on without an endpoint"]
    parts += ["masqueraded"] * run.masqueraded
    return ", ".join(parts)
