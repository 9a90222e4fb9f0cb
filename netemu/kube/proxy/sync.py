"""kube-proxy's iptables mode over time: what each sync hands to `iptables-restore --noflush`.

Source: pkg/proxy/iptables/proxier.go, syncProxyRules (Kubernetes 1.30).

Theory of operation: the chains that Services share are written whole at every sync; a Service's own
chains only when the Service or its endpoints changed (a partial sync), or in a full sync, which
comes first, after a failure, and once an hour. Chains of ours that no Service has any more are
flushed and deleted, in a large cluster at most once a sync period.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec import Struct

from netemu.clock import NSEC_PER_SEC
from netemu.kube.proxy.iptables import PortRules, in_order, is_large, port_rules, shared_tables
from netemu.kube.proxy.names import ENDPOINT_PREFIX, SERVICE_PREFIXES
from netemu.kube.proxy.settings import ProxySettings
from netemu.kube.proxy.text import restore_text
from netemu.kube.proxy.view import NOTHING, ProxyView
from netemu.kube.service_ports import port_key

SYNC_PERIOD_S = 30
"""iptables.syncPeriod."""
FULL_SYNC_PERIOD_S = 3600
"""FullSyncPeriod of pkg/proxy/util."""
OWN_PREFIXES = (*SERVICE_PREFIXES, ENDPOINT_PREFIX)

PortName = tuple[str, str]
"""Name of a Service port and its protocol."""


class Restore(Struct, frozen=True, kw_only=True):
    """What one sync hands over."""

    text: str
    full: bool
    services: int
    """Services whose own chains are written."""
    rules: int
    stale: tuple[str, ...]
    """Chains that are deleted."""


class IptablesSync:
    """What kube-proxy remembers from one sync to the next."""

    __slots__ = ("_cleaned_ns", "_full_ns", "_parts", "needs_full")

    def __init__(self) -> None:
        """Begin as a process that has just started."""
        self.needs_full = True
        self._full_ns = 0
        self._cleaned_ns = 0
        self._parts: dict[str, dict[PortName, PortRules]] = {}
        """By Service: what was written last."""

    def sync(
        self,
        settings: ProxySettings,
        view: ProxyView,
        changed: Collection[str],
        *,
        now_ns: int,
        existing: Iterable[str],
    ) -> Restore:
        """Return the text of a sync.

        `changed` are Services, `existing` the chains of the nat table as iptables-save tells them.
        """
        full = (
            self.needs_full
            or not settings.version.syncs_partially
            or now_ns - self._full_ns > FULL_SYNC_PERIOD_S * NSEC_PER_SEC
        )
        large = is_large(view.ports(), view.endpoints())
        written = list(view.services) if full else list(changed)
        if full:
            self._parts = {}
            self._full_ns = now_ns
        for key in written:
            self._write(settings, view, key, with_comments=not large)
        parts = {name: part for found in self._parts.values() for name, part in found.items()}
        filter_, nat = shared_tables(settings, [parts[name] for name in sorted(parts)])
        for key in written:
            for part in self._parts.get(key, {}).values():
                nat.chains.update(part.chains)
        stale: list[str] = []
        if not large or now_ns - self._cleaned_ns > SYNC_PERIOD_S * NSEC_PER_SEC:
            active = {chain for part in parts.values() for chain in part.chains}
            stale = sorted(
                name for name in existing if name.startswith(OWN_PREFIXES) and name not in active
            )
            self._cleaned_ns = now_ns
        for name in stale:
            nat.delete(name)
        self.needs_full = False
        return Restore(
            text=restore_text(filter_, nat),
            full=full,
            services=len(written),
            rules=sum(map(len, (*filter_.chains.values(), *nat.chains.values()))),
            stale=tuple(stale),
        )

    def _write(
        self, settings: ProxySettings, view: ProxyView, key: str, *, with_comments: bool
    ) -> None:
        state = view.services.get(key, NOTHING)
        found = {
            (port.name, port.protocol): port_rules(
                settings, port, state.endpoints.get(port_key(port), []), with_comments=with_comments
            )
            for port in in_order(state.ports)
        }
        if found:
            self._parts[key] = found
        else:
            self._parts.pop(key, None)
