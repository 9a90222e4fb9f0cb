"""NE7xx: what is open, or closed, other than one would think."""

from __future__ import annotations

import pytest

from tests.lint.cases import Case, catches, check, expand, findings_of, passes

EST = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
LO = "-A INPUT -i lo -j ACCEPT"
CLOSED = f":INPUT DROP; {LO}; {EST}"
DOCKER = (
    "*nat; :DOCKER; -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER; "
    "-A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80"
)
HOME = "*nat; -A POSTROUTING -s 10.20.0.0/24 -o eth0 -j MASQUERADE"
PINGS = "-A INPUT -p icmp -m limit --limit 10/sec -j ACCEPT"


def saved(name: str, chain: str) -> str:
    return f"# {name}\n" + expand(f":{chain}; -A INPUT -j {chain}; -A {chain} -p tcp -j DROP")


CASES = [
    passes("NE701", f"{DOCKER}; *filter; -A INPUT -p tcp --dport 22 -j ACCEPT"),
    passes("NE701", f"{DOCKER}; *filter; {CLOSED}; :FORWARD DROP"),
    passes("NE701", f"{DOCKER}; *filter; {CLOSED}; -A FORWARD ! -s 10.0.0.0/8 -j DROP"),
    passes("NE701", f"{DOCKER.replace('DOCKER', 'mine')}; *filter; {CLOSED}", "done by hand"),
    catches("NE701", f"{DOCKER}; *filter; {CLOSED}"),
    catches("NE701", f"{DOCKER}; *filter; {CLOSED}; -A INPUT -p tcp --dport 8080 -j DROP"),
    catches("NE701", f"{DOCKER}; *filter; {CLOSED}; :FORWARD DROP; -A FORWARD -p tcp -j ACCEPT"),
    passes("NE702", f"{CLOSED}; -A INPUT -s 192.0.2.0/24 -p tcp --dport 22 -j ACCEPT"),
    passes("NE702", f"{CLOSED}; -A INPUT -p tcp --dport 443 -j ACCEPT"),
    passes("NE702", "-A INPUT -j ACCEPT", "names no port"),
    passes("NE702", f"{CLOSED}; -A INPUT -p tcp --dport 1:65535 -j ACCEPT", "nor does this"),
    passes("NE702", f"{CLOSED}; -A INPUT -i lo -p tcp --dport 3306 -j ACCEPT"),
    catches("NE702", f"{CLOSED}; -A INPUT -p tcp --dport 22 -j ACCEPT", 5),
    catches("NE702", f"{CLOSED}; -A INPUT -p tcp -m multiport --dports 443,6379 -j ACCEPT"),
    catches("NE702", f"{CLOSED}; :s; -A INPUT -p tcp -j s; -A s -p tcp --dport 3389 -j ACCEPT"),
    passes("NE703", f"{CLOSED}; -A INPUT -s 10.0.0.0/8 -i lan0 -j ACCEPT"),
    passes("NE703", f"{CLOSED}; -A INPUT -s 10.0.0.0/8 -p tcp --dport 22 -j ACCEPT", "a handshake"),
    passes("NE703", f"{CLOSED}; -A INPUT -s 203.0.113.0/24 -j ACCEPT", "not private"),
    passes("NE703", f"{CLOSED}; -A INPUT -s 127.0.0.0/8 -j ACCEPT", "the kernel refuses it"),
    passes("NE703", f"{CLOSED}; -A INPUT -i eth0 -s 10.0.0.0/8 -j DROP; -A INPUT -s 10.0.0.0/8 "
           "-j ACCEPT", "asked before"),
    passes("NE703", f"{CLOSED}; -A INPUT -s 10.0.0.0/8 -j ACCEPT; -A INPUT -i eth0 -s 10.1.0.0/16 "
           "-p tcp --dport 22 -j ACCEPT", "the network is there"),
    passes("NE703", "-A INPUT -s 10.0.0.0/8 -p udp -j ACCEPT", "so are all others"),
    catches("NE703", f"{CLOSED}; -A INPUT -s 10.0.0.0/8 -j ACCEPT", 5),
    catches("NE703", f"{CLOSED}; -A INPUT -s 192.168.7.0/24 -p udp --dport 161 -j ACCEPT", 5),
    catches("NE703", f":FORWARD DROP; -A FORWARD -s 10.20.0.0/24 -j ACCEPT; {HOME}", 3),
    catches("NE703", f"{CLOSED}; -A INPUT -s 10.20.0.0/16 -i eth0 -p tcp -j ACCEPT; {HOME}", 5),
    passes("NE704", f":INPUT DROP; {LO}; {EST}"),
    passes("NE704", f":INPUT DROP; -A INPUT -s 127.0.0.0/8 -j ACCEPT; {EST}"),
    passes("NE704", f"{EST}; -A INPUT -i eth0 -j DROP"),
    passes("NE704", ":INPUT DROP", "closed altogether"),
    catches("NE704", f":INPUT DROP; {EST}; -A INPUT -p tcp --dport 22 -j ACCEPT", 2),
    catches("NE704", f":INPUT DROP; -A INPUT -i lo -p udp -j ACCEPT; {EST}", 2),
    catches("NE704", f":INPUT DROP; -A INPUT -i lo0 -j ACCEPT; {EST}", 2),
    passes("NE706", f"{PINGS}; -A INPUT -p icmp -j DROP"),
    passes("NE706", f":INPUT DROP; {PINGS}"),
    passes("NE706", f"{PINGS}; -A INPUT -p icmp --icmp-type 8 -j DROP", "some are dropped"),
    passes("NE706", "-A INPUT -p icmp -m limit --limit 10/sec -j LOG"),
    catches("NE706", PINGS),
    catches("NE706", f":INPUT DROP; {PINGS}; -A INPUT -p icmp -j ACCEPT", 3),
    catches("NE706", f":p; -A INPUT -j p; {PINGS.replace('INPUT', 'p')}; -A p -j RETURN", 4),
    passes("NE707", "-A INPUT -p tcp -j NFQUEUE --queue-num 1 --queue-bypass"),
    passes("NE707", ":NFQUEUE-x; -A INPUT -j NFQUEUE-x"),
    passes("NE707", "-A INPUT -j DROP; -A INPUT -j NFQUEUE --queue-num 1", "never gets there"),
    catches("NE707", "-A INPUT -p tcp -j NFQUEUE --queue-num 1"),
    catches("NE707", "-A FORWARD -j NFQUEUE --queue-balance 0:3"),
    catches("NE707", "*mangle; -A PREROUTING -p udp -j NFQUEUE --queue-num 0"),
    passes("NE708", f"{CLOSED}; -A INPUT -s 192.0.2.9 -p tcp --dport 22 -j ACCEPT"),
    passes("NE708", f"{CLOSED}; -A INPUT -p tcp --dport 2222 -j ACCEPT", "perhaps SSH is there"),
    passes("NE708", CLOSED, "a host without services"),
    passes("NE708", "-A INPUT -p tcp --dport 22 -j DROP", "no closed policy"),
    catches("NE708", f"{CLOSED}; -A INPUT -p tcp --dport 443 -j ACCEPT", 2),
    catches("NE708", "-A INPUT -m state --state ESTABLISHED -j ACCEPT; -A INPUT -p tcp --dport 80 -j ACCEPT; "
            "-A INPUT -j REJECT", 1),
    catches("NE708", ":INPUT DROP; -A INPUT -i lo -j ACCEPT", 2),
    catches("NE708", f"{CLOSED}; -A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT", 2),
    catches("NE708", f"{CLOSED}; -A INPUT -p tcp --dport 22 -j DROP; "
            "-A INPUT -p tcp --dport 1:1023 -j ACCEPT", 2),
    passes("NE709", saved("/etc/iptables/rules.v4", "web")),
    passes("NE709", saved("/etc/iptables/rules.v4", "ufw-reject-input"), "ufw loads its own"),
    passes("NE709", saved("/root/dump.save", "f2b-sshd")),
    catches("NE709", saved("/etc/iptables/rules.v4", "f2b-sshd")),
    catches("NE709", saved("/etc/sysconfig/iptables", "KUBE-SERVICES")),
    catches("NE709", saved("/etc/iptables/rules.v4", "DOCKER-ISOLATION-STAGE-1")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_cases(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", [case for case in CASES if case.found])
def test_every_finding_has_a_packet(case: Case) -> None:
    for finding in findings_of(expand(case.text), case.code):
        assert finding.witness is not None
