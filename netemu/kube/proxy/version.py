"""Releases of kube-proxy whose rules netemu knows, and what differs between them."""

from __future__ import annotations

import re

from msgspec import Struct

from netemu.errors import UsageError

KNOWN = ((1, 20), *((1, minor) for minor in range(25, 34)))


class ProxyVersion(Struct, frozen=True, order=True):
    """A minor release, such as 1.30."""

    major: int
    minor: int

    def __str__(self) -> str:
        """`major.minor`."""
        return f"{self.major}.{self.minor}"

    @property
    def has_xlb_chains(self) -> bool:
        """Whether KUBE-XLB chains stand for local traffic, before KUBE-EXT and KUBE-SVL (1.24)."""
        return self < ProxyVersion(1, 24)

    @property
    def has_firewall_chain(self) -> bool:
        """Whether KUBE-PROXY-FIREWALL drops what source ranges do not let in (1.25)."""
        return self >= ProxyVersion(1, 25)

    @property
    def admits_health_checks(self) -> bool:
        """Whether health check ports have a rule of their own (1.21)."""
        return self >= ProxyVersion(1, 21)

    @property
    def serves_terminating(self) -> bool:
        """Whether endpoints that end still serve when no other is left (1.26)."""
        return self >= ProxyVersion(1, 26)

    @property
    def has_localhost_option(self) -> bool:
        """Whether NodePorts on loopback can be turned off, and are off in IPv6 (1.26)."""
        return self >= ProxyVersion(1, 26)

    @property
    def takes_any_hint(self) -> bool:
        """Whether zone hints are asked for by topology-mode, too, and by any word (1.27)."""
        return self >= ProxyVersion(1, 27)

    @property
    def heeds_ip_mode(self) -> bool:
        """Whether load balancer addresses of `ipMode: Proxy` are left alone (1.30)."""
        return self >= ProxyVersion(1, 30)

    @property
    def masks_ranges(self) -> bool:
        """Whether source ranges are written as networks, without host bits (1.30)."""
        return self >= ProxyVersion(1, 30)

    @property
    def writes_firewall(self) -> bool:
        """Whether kube-proxy itself guards 127.0.0.0/8 (1.27); kubelet did before."""
        return self >= ProxyVersion(1, 27)

    @property
    def heeds_be_liberal(self) -> bool:
        """Whether tcp_be_liberal takes the rule against INVALID away (1.29)."""
        return self >= ProxyVersion(1, 29)

    @property
    def syncs_partially(self) -> bool:
        """Whether unchanged Services' chains are left out of a sync (1.27; 1.26 on request)."""
        return self >= ProxyVersion(1, 27)

    @property
    def reconciles_conntrack(self) -> bool:
        """Whether UDP connections are compared with the endpoints there are (1.32)."""
        return self >= ProxyVersion(1, 32)

    @property
    def has_ipvs_out_filter(self) -> bool:
        """Whether IPVS mode has KUBE-IPVS-OUT-FILTER (1.29)."""
        return self >= ProxyVersion(1, 29)

    @property
    def has_ipvs_filter(self) -> bool:
        """Whether IPVS mode has KUBE-IPVS-FILTER and its set (1.26)."""
        return self >= ProxyVersion(1, 26)

    @property
    def counts_by_nfacct(self) -> bool:
        """Whether some rules count by nfacct where the kernel has it (1.31)."""
        return self >= FIRST_COUNTING

    @property
    def hints_need_annotation(self) -> bool:
        """Whether zone hints count only with an annotation (until ServiceTrafficDistribution)."""
        return self < ProxyVersion(1, 31)

    @property
    def kubelet_makes_chains(self) -> bool:
        """Whether kubelet keeps masquerade and drop chains of its own (until 1.26)."""
        return self < ProxyVersion(1, 27)


DEFAULT = ProxyVersion(1, 30)
DEFAULT_VERSION = str(DEFAULT)
LAST_USERSPACE = ProxyVersion(1, 25)
"""The last release with userspace mode."""
FIRST_COUNTING = ProxyVersion(1, 31)
"""The first release that counts by nfacct."""


def parse_version(text: str) -> ProxyVersion:
    """Return a version that netemu knows.

    >>> str(parse_version("v1.30.3"))
    '1.30'

    Raises UsageError for one whose rules are not known.
    """
    found = re.fullmatch(r"v?(\d+)\.(\d+)(?:\..*)?", text)
    if found is None:
        raise UsageError(f"{text!r} is no version of kube-proxy; write {DEFAULT_VERSION}")
    version = ProxyVersion(int(found[1]), int(found[2]))
    if (version.major, version.minor) not in KNOWN:
        raise UsageError(
            f"the rules of kube-proxy {version} are not known; those of"
            f" {ProxyVersion(*KNOWN[0])} and of {ProxyVersion(*KNOWN[1])} to"
            f" {ProxyVersion(*KNOWN[-1])} are"
        )
    return version
