"""Which program owns a chain, by the names that programs give their chains.

Kernel: none.

A program that owns a chain writes it anew whenever it likes, so nobody can tidy it up by hand, and
a rules file that holds it holds a copy that is out of date. Chains that a program makes for its
user to write to (DOCKER-USER, ufw-user-input) belong to the user. Programs also write rules
into chains that they do not own, such as docker into FORWARD: these are told by their text. That
a chain for users is there at all, be it used or not, is the doing of the program that declares it.
"""

from __future__ import annotations

import re

KUBELET = frozenset(
    {"KUBE-FIREWALL", "KUBE-MARK-DROP", "KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT"}
)

FOR_USERS = frozenset({"DOCKER-USER"})
"""Made by a program, left to its user."""

_UFW_USER = re.compile(r"ufw6?-(?:user|before|after)-")
"""Filled from files that the user edits: /etc/ufw/{user,before,after}.rules."""

_OWNERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), owner)
    for pattern, owner in (
        (r"KUBE-ROUTER-|KUBE-(?:POD-FW|NWPLCY)-", "kube-router"),
        (r"KUBE-", "kube-proxy"),
        (r"DOCKER(?:$|-)", "docker"),
        (r"CNI-|NETAVARK|CNI_", "container networking (CNI)"),
        (r"cali-|calico-", "Calico"),
        (r"CILIUM_|OLD_CILIUM_", "Cilium"),
        (r"FLANNEL-", "flannel"),
        (r"WEAVE(?:$|-)", "Weave Net"),
        (r"ANTREA-", "Antrea"),
        (r"ISTIO_", "Istio"),
        (r"PROXY_INIT_", "Linkerd"),
        (r"f2b-|fail2ban-", "fail2ban"),
        (r"ufw6?-", "ufw"),
        (r"LIBVIRT_", "libvirt"),
        (r"sshguard$", "sshguard"),
        (r"ts-(?:input|forward|postrouting)$", "Tailscale"),
        (r"nixos-", "NixOS"),
        (r"(?:INPUT|OUTPUT|FORWARD|PREROUTING|POSTROUTING)_direct$", "firewalld"),
        (
            r"(?:(?:IN|FWD[IO]|PRE|POST)_|FWD_)(?!direct)\S+_(?:log|deny|allow|pre|post)$",
            "firewalld",
        ),
        (r"(?:INPUT|FORWARD(?:_IN|_OUT)?|PREROUTING|POSTROUTING|OUTPUT)_ZONES", "firewalld"),
        (r"(?:INPUT|FORWARD|PREROUTING|POSTROUTING|OUTPUT)_POLICIES_(?:pre|post)$", "firewalld"),
        (r"zone_\w+_(?:input|output|forward|dest|src|prerouting|postrouting)", "OpenWrt's fw3"),
        (r"neutron-", "OpenStack Neutron"),
        (r"nova-", "OpenStack Nova"),
    )
)

_JUMP = re.compile(r" -[jg] (\S+)$")

_DOCKER0 = r"(?:docker0|br-[0-9a-f]{12})"

_WRITERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), writer)
    for pattern, writer in (
        (rf"-A FORWARD -i ({_DOCKER0}) (?:! )?-o \1 -j (?:ACCEPT|DROP)$", "docker"),
        (
            rf"-A FORWARD -o {_DOCKER0} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT$",
            "docker",
        ),
        (r"-A DOCKER-USER -j RETURN$", "docker"),
        (rf"-A POSTROUTING -s \S+ ! -o {_DOCKER0} -j MASQUERADE$", "docker"),
        (r"-A POSTROUTING -s (\S+/32) -d \1 -p (\w+) -m \2 --dport \d+ -j MASQUERADE$", "docker"),
        (r"-A \S+ .*-m comment --comment \"?cali:", "Calico"),
        (r"-A \S+ .*-m comment --comment \"?!fw3", "OpenWrt's fw3"),
        (r'-A \S+ .*-m comment --comment "flanneld (?:forward|masq)"', "flannel"),
        (r"-A (?:INPUT|FORWARD|OUTPUT) .*-[io] virbr\d+ ", "libvirt"),
    )
)


_DECLARED = re.compile(r"(?:input|output|forwarding|prerouting|postrouting)_(?:\w+_)?rule$")
"""Chains that OpenWrt's fw3 makes for its user's own rules."""


def maker_of(chain: str) -> str:
    """Return the program that declares a chain, whoever fills it.

    >>> maker_of("ufw-user-output"), maker_of("forwarding_rule"), maker_of("web")
    ('ufw', "OpenWrt's fw3", '')
    """
    if _UFW_USER.match(chain):
        return "ufw"
    if chain in FOR_USERS:
        return "docker"
    return "OpenWrt's fw3" if _DECLARED.match(chain) else owner_of(chain)


def owner_of(chain: str) -> str:
    """Return the program that owns a chain; an empty string for one of the user's own.

    >>> owner_of("KUBE-SVC-ERIFXISQEP7F7OF4"), owner_of("DOCKER-USER"), owner_of("web")
    ('kube-proxy', '', '')
    """
    if chain in FOR_USERS or _UFW_USER.match(chain):
        return ""
    if chain in KUBELET:
        return "kubelet"
    return next((owner for pattern, owner in _OWNERS if pattern.match(chain)), "")


def writer_of(rule: str) -> str:
    """Return the program that writes a rule, as iptables-save prints it; empty for one's own.

    >>> writer_of("-A FORWARD -i docker0 ! -o docker0 -j ACCEPT"), writer_of("-A INPUT -j f2b-sshd")
    ('docker', 'fail2ban')
    """
    jump = _JUMP.search(rule)
    owner = owner_of(jump[1]) if jump is not None else ""
    return owner or next((writer for pattern, writer in _WRITERS if pattern.match(rule)), "")
