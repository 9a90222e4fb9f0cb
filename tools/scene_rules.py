"""The rules of the scenes, as kube-proxy, docker and an administrator write them."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One port of a Kubernetes Service with its endpoints."""

    name: str
    """`namespace/name:port`."""
    address: str
    port: int
    endpoints: tuple[str, ...]
    """`ADDRESS:PORT` each."""
    node_port: int = 0


def _hash(text: str) -> str:
    """Return the 16 letters that kube-proxy ends its chain names with."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest())[:16].decode()


def kube_proxy(services: tuple[ServicePort, ...], *, pods: str) -> str:
    """Return what kube-proxy 1.30 programs in iptables mode, base chains included."""
    chains: list[str] = []
    portals: list[str] = []
    node_ports: list[str] = []
    rules: list[str] = []
    for service in services:
        svc = f"KUBE-SVC-{_hash(service.name + 'tcp')}"
        chains.append(svc)
        where = f"-d {service.address}/32 -p tcp"
        portals.append(
            f'-A KUBE-SERVICES {where} -m comment --comment "{service.name} cluster IP" '
            f"-m tcp --dport {service.port} -j {svc}"
        )
        if service.node_port:
            ext = f"KUBE-EXT-{_hash(service.name + 'tcp')}"
            chains.append(ext)
            node_ports.append(
                f'-A KUBE-NODEPORTS -p tcp -m comment --comment "{service.name}" '
                f"-m tcp --dport {service.node_port} -j {ext}"
            )
            rules += [
                (
                    f'-A {ext} -m comment --comment "masquerade traffic for {service.name} external '
                    'destinations" -j KUBE-MARK-MASQ'
                ),
                f"-A {ext} -j {svc}",
            ]
        rules.append(
            f'-A {svc} ! -s {pods} {where} -m comment --comment "{service.name} cluster IP" '
            f"-m tcp --dport {service.port} -j KUBE-MARK-MASQ"
        )
        rules += _endpoints(service, svc, chains)
    nat_chains = "".join(f":{chain} - [0:0]\n" for chain in sorted(chains))
    body = "\n".join([*node_ports, *portals, *rules])
    return _KUBE_FILTER + _KUBE_NAT_HEAD + nat_chains + _KUBE_NAT + body + _KUBE_NAT_TAIL


def _endpoints(service: ServicePort, svc: str, chains: list[str]) -> list[str]:
    """Return the spreading rules of a Service and the chain of each endpoint."""
    spread, own = [], []
    count = len(service.endpoints)
    for number, endpoint in enumerate(service.endpoints):
        sep = f"KUBE-SEP-{_hash(service.name + 'tcp' + endpoint)}"
        chains.append(sep)
        left = count - number
        chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        spread.append(
            f'-A {svc} -m comment --comment "{service.name} -> {endpoint}" {chance}-j {sep}'
        )
        address = endpoint.partition(":")[0]
        own += [
            f'-A {sep} -s {address}/32 -m comment --comment "{service.name}" -j KUBE-MARK-MASQ',
            (
                f'-A {sep} -p tcp -m comment --comment "{service.name}" -m tcp -j DNAT '
                f"--to-destination {endpoint}"
            ),
        ]
    return spread + own


_KUBE_FILTER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""

_KUBE_NAT_HEAD = """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
"""

_KUBE_NAT = """\
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
"""

_KUBE_NAT_TAIL = """
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
"""

DOCKER = """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""

GATEWAY = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:LATE - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j LATE
-A INPUT -i eth0 -m conntrack --ctstate NEW -j LATE
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate INVALID -j LATE
-A FORWARD -i eth1 -o eth0 -m conntrack --ctstate NEW -j ACCEPT
-A LATE -j LOG --log-prefix "late: "
-A LATE -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
"""

SETS = """\
create BLOCKED hash:net counters
add BLOCKED 192.0.2.0/28
add BLOCKED 192.0.2.9 nomatch
create OPEN bitmap:port range 0-1024
add OPEN 22
add OPEN 443
create ADMINS hash:ip,port
add ADMINS 192.0.2.9,tcp:2222
create SCANNERS hash:ip timeout 600 counters maxelem 8
create LIMITED list:set
add LIMITED BLOCKED
add LIMITED SCANNERS
"""

SET_FIREWALL = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m set --match-set ADMINS src,dst -j ACCEPT
-A INPUT -m set --match-set LIMITED src -j DROP
-A INPUT -p tcp -m set --match-set OPEN dst -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -j SET --add-set SCANNERS src --exist
COMMIT
"""

HOST_FIREWALL = """\
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p udp -m udp --dport 53 -j TRACE
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:REFUSE - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -m icmp --icmp-type 8 -m limit --limit 1/min --limit-burst 3 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --set --name SSH --mask 255.255.255.255 --rsource
-A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --update --seconds 60 --hitcount 4 --name SSH --mask 255.255.255.255 --rsource -j DROP
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -p tcp -m multiport --dports 25,110,143 -j REFUSE
-A INPUT -p udp -m udp --dport 53 -j REJECT --reject-with icmp-port-unreachable
-A REFUSE -j LOG --log-prefix "refused: " --log-level 4
-A REFUSE -p tcp -j REJECT --reject-with tcp-reset
COMMIT
"""
