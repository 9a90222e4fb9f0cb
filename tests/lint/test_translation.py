"""NE2xx: translation and connection tracking, each finding shown by a packet."""

from __future__ import annotations

import pytest

from tests.lint.cases import Case, catches, check, expand, findings_of, passes

EST = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
WEB = "*nat; -A PREROUTING -i eth0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80"
HOME = (
    "*nat; -A PREROUTING -d 192.0.2.1 -p tcp --dport 80 -j DNAT --to-destination 192.168.1.10; "
    "-A POSTROUTING -s 192.168.1.0/24 -o eth0 -j MASQUERADE"
)
MANY = "; ".join(f"-A INPUT -s 192.0.2.{n} -p tcp --dport 22 -j ACCEPT" for n in range(1, 11))

CASES = [
    passes("NE201", f"{WEB}; *filter; :FORWARD DROP; -A FORWARD -p tcp --dport 80 -j ACCEPT"),
    passes("NE201", f"{WEB}; *filter; -A FORWARD -p tcp --dport 81 -j DROP"),
    passes(
        "NE201",
        f"{WEB}; *filter; :FORWARD DROP; -A FORWARD -s 192.0.2.9 -p tcp --dport 80 -j ACCEPT",
        "some are let through",
    ),
    passes("NE201", "*nat; -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080"),
    catches("NE201", f"{WEB}; *filter; :FORWARD DROP", 2),
    catches("NE201", f"{WEB}; *filter; :FORWARD DROP; -A FORWARD -p tcp --dport 8080 -j ACCEPT", 2),
    catches("NE201", f"{WEB}; *filter; -A FORWARD -d 172.17.0.0/16 -j REJECT", 2),
    catches(
        "NE201",
        "*nat; -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080; *filter; :INPUT DROP; "
        "-A INPUT -p tcp --dport 80 -j ACCEPT",
        2,
    ),
    passes("NE202", "*nat; -A POSTROUTING -o eth0 -j MASQUERADE"),
    passes("NE202", "*nat; -A POSTROUTING -s 10.0.0.0/24 -j MASQUERADE"),
    passes("NE202", "*nat; -A POSTROUTING -m mark --mark 1 -j MASQUERADE"),
    passes("NE202", "*nat; -A POSTROUTING -o br0 -j RETURN; -A POSTROUTING -j MASQUERADE"),
    passes("NE202", "*nat; :m; -A POSTROUTING -m mark --mark 1 -j m; -A m -j MASQUERADE"),
    passes("NE202", "*nat; :m; -A POSTROUTING -o eth0 -j m; -A m -j MASQUERADE"),
    passes("NE202", "*nat; -A POSTROUTING ! -o br0 -j MASQUERADE", "all but what goes inside"),
    catches("NE202", "*nat; -A POSTROUTING -j MASQUERADE"),
    catches("NE202", "*nat; -A POSTROUTING -p tcp -j MASQUERADE"),
    catches("NE202", "*nat; -A POSTROUTING ! -o lo -j MASQUERADE"),
    catches("NE202", "*nat; :m; -A POSTROUTING -j m; -A m -j MASQUERADE"),
    catches("NE202", '*nat; -A POSTROUTING -m comment --comment "all" -j MASQUERADE'),
    catches("NE202", "*nat; :m; -A POSTROUTING -j m; -A POSTROUTING -j MASQUERADE --random"),
    passes("NE203", "*nat; -A POSTROUTING -o eth0 -j SNAT --to-source 203.0.113.9"),
    passes(
        "NE203",
        "*nat; -A PREROUTING -d 203.0.113.9 -i eth0 -p tcp --dport 80 -j DNAT --to 10.0.0.2; "
        "-A POSTROUTING -o eth0 -j SNAT --to-source 203.0.113.9",
    ),
    passes(
        "NE203",
        "*nat; -A PREROUTING -d 203.0.113.9 -i eth0 -p tcp --dport 80 -j DNAT --to 10.0.0.2; "
        "-A POSTROUTING -o eth0 -j SNAT --to-source 203.0.113.1-203.0.113.20",
    ),
    catches(
        "NE203",
        "*nat; -A PREROUTING -d 203.0.113.9 -i eth0 -p tcp --dport 80 -j DNAT --to 10.0.0.2; "
        "-A POSTROUTING -o eth0 -j SNAT --to-source 203.0.113.8",
        3,
    ),
    catches(
        "NE203",
        "-A INPUT -d 203.0.113.9 -i eth0 -j ACCEPT; *nat; "
        "-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j SNAT --to-source 198.51.100.1-198.51.100.9",
    ),
    catches(
        "NE203",
        "*nat; -A PREROUTING -d 203.0.113.9 -i eth0 -p tcp --dport 80 -j DNAT --to 10.0.0.2; "
        "-A POSTROUTING -s 10.0.0.2 -j SNAT --to-source 10.0.0.9",
        3,
    ),
    passes("NE204", "-A INPUT -p tcp -m conntrack --ctorigdstport 80 -j ACCEPT"),
    passes("NE204", "-A INPUT -m conntrack --ctproto 6 --ctorigdstport 80 -j ACCEPT"),
    passes("NE204", "-A INPUT -p udp -m udp --dport 53 -m conntrack --ctstate NEW -j ACCEPT"),
    passes("NE204", ":x; -A INPUT -p tcp -j x; -A x -m conntrack --ctorigdstport 80 -j ACCEPT",
           "the caller asks for it"),
    catches("NE204", "-A INPUT -m conntrack --ctorigdstport 80 -j ACCEPT", 2),
    catches("NE204", "-A INPUT ! -p tcp -m conntrack --ctorigdstport 80:90 -j DROP", 2),
    catches("NE204", "-A FORWARD -m conntrack --ctstate NEW --ctorigsrcport 53 -j ACCEPT", 2),
    passes("NE205", f"*raw; -A PREROUTING -p udp -j NOTRACK; {WEB}"),
    passes("NE205", f"*raw; -A PREROUTING -s 192.0.2.1 -j CT --notrack; {WEB}", "some are tracked"),
    passes("NE205", f"*raw; -A PREROUTING -p tcp --dport 80 -j CT --notrack; {WEB}"),
    catches("NE205", f"*raw; -A PREROUTING -p tcp --dport 8080 -j CT --notrack; {WEB}"),
    catches("NE205", f"*raw; -A PREROUTING -i eth0 -j NOTRACK; {WEB}"),
    catches("NE205", f"*raw; :x; -A PREROUTING -p tcp -j x; -A x -j CT --notrack; {WEB}"),
    passes("NE206", f":INPUT DROP; -A INPUT {EST[11:]}"),
    passes("NE206", ":INPUT DROP", "closed altogether"),
    passes("NE206", ":INPUT DROP; -A INPUT -p tcp --sport 443 -j ACCEPT", "without states"),
    passes("NE206", f":FORWARD DROP; {EST}; -A FORWARD -i lan0 -o eth0 -j ACCEPT"),
    passes("NE206", ":FORWARD DROP; -A FORWARD -i lan0 -j ACCEPT; -A FORWARD -o lan0 -j ACCEPT"),
    catches("NE206", ":INPUT DROP; -A INPUT -p tcp --dport 22 -j ACCEPT", 2),
    catches("NE206", ":INPUT DROP; -A INPUT -i lo -j ACCEPT", 2),
    catches("NE206", ":FORWARD DROP; -A FORWARD -i lan0 -o eth0 -j ACCEPT", 2),
    catches("NE206", f":FORWARD DROP; -A FORWARD -p tcp -j DROP; {EST}; :INPUT DROP; "
            "-A INPUT -p tcp -m conntrack --ctstate NEW -j ACCEPT"),
    passes("NE207", "-A INPUT -m conntrack --ctstate INVALID -j DROP"),
    passes("NE207", "-A INPUT -m conntrack ! --ctstate INVALID -j ACCEPT"),
    passes("NE207", "-A INPUT -p tcp --dport 22 -j ACCEPT", "does not speak of states"),
    passes("NE207", "-A INPUT -m conntrack ! --ctstate INVALID -j ACCEPT"),
    catches("NE207", ":FORWARD DROP; -A FORWARD -m conntrack ! --ctstate NEW -j ACCEPT", 3),
    catches("NE207", "-A INPUT -m conntrack --ctstate INVALID,ESTABLISHED -j ACCEPT"),
    catches("NE207", "-A FORWARD -m state --state INVALID -j ACCEPT"),
    catches("NE207", ":x; -A INPUT -j x; -A x -m conntrack --ctstate INVALID,NEW -j ACCEPT"),
    passes("NE208", f"{WEB}; *filter; -A FORWARD -p tcp --dport 80 -j DROP"),
    passes("NE208", f"{WEB}; *filter; -A FORWARD -i lan0 -p tcp --dport 8080 -j DROP"),
    passes("NE208", f"{WEB}; *filter; -A FORWARD -p tcp --dport 8080 -j ACCEPT"),
    passes("NE208", f"{WEB}; *filter; -A INPUT -j DROP", "names no destination"),
    passes("NE208", f"{WEB}; *filter; :DOCKER; -A DOCKER -p tcp --dport 8080 -j DROP"),
    catches("NE208", f"{WEB}; *filter; -A INPUT -p tcp --dport 8080 -j DROP"),
    catches("NE208", f"{WEB}; *filter; :DOCKER-USER; -A FORWARD -j DOCKER-USER; -A DOCKER-USER "
            "-s 198.51.100.0/24 -p tcp --dport 8080 -j DROP"),
    catches("NE208", f"{WEB}; *filter; -A FORWARD -p tcp -m multiport --dports 22,8080 -j REJECT"),
    catches("NE208", "*nat; -A PREROUTING -d 10.96.0.20 -p tcp --dport 80 -j DNAT --to 10.244.1.5; "
            "*filter; -A FORWARD -d 10.96.0.20 -j DROP"),
    passes("NE209", WEB),
    passes("NE209", "*nat; -A PREROUTING -d 192.0.2.1 -p tcp --dport 80 -j DNAT --to 10.0.0.2"),
    passes("NE209", "*nat; -A PREROUTING -p tcp --dport 80 -m addrtype --dst-type LOCAL "
           "-j DNAT --to 10.0.0.2; -A POSTROUTING -o lan0 -j RETURN"),
    passes("NE209", "*nat; :w; -A PREROUTING -i eth0 -j w; -A w -p tcp --dport 80 -j DNAT --to "
           "10.0.0.2; -A POSTROUTING -o lan0 -j RETURN"),
    catches("NE209", "*nat; -A PREROUTING -p tcp --dport 80 -j DNAT --to 10.0.0.2; "
            "-A POSTROUTING -o lan0 -j RETURN"),
    catches("NE209", "*nat; -A PREROUTING -p udp --dport 53 -j REDIRECT; "
            "-A POSTROUTING -o lan0 -j RETURN"),
    catches("NE209", "*nat; :w; -A PREROUTING -j w; -A w -p tcp --dport 80 -j DNAT --to 10.0.0.2; "
            "-A POSTROUTING -o lan0 -j RETURN"),
    passes("NE210", f"{HOME.replace('-d 192.0.2.1', '-i eth0')}", "asked from outside alone"),
    passes("NE210", f"{HOME}; -A POSTROUTING -s 192.168.1.0/24 -d 192.168.1.10 -j MASQUERADE"),
    passes("NE210", f"{HOME}; -A POSTROUTING -s 192.168.0.0/16 -j SNAT --to-source 192.168.1.1"),
    passes("NE210", f"{HOME}; *filter; :FORWARD DROP; -A FORWARD -i eth0 -j ACCEPT", "dropped"),
    passes("NE210", f"{HOME.replace('.1.10', '.2.10')}", "the server is elsewhere"),
    passes("NE210", "*nat; -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2; "
           "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", "bridged: conntrack sees it"),
    passes("NE210", "*nat; -A PREROUTING -d 192.0.2.1 -j DNAT --to-destination 10.0.0.2",
           "nobody knows who its neighbours are"),
    catches("NE210", HOME, 2),
    catches("NE210", f"{HOME}; -A POSTROUTING -s 192.168.1.0/24 -d 192.168.1.11 -j MASQUERADE", 2),
    catches("NE210", f"{HOME}; *filter; :FORWARD DROP; -A FORWARD -d 192.168.1.10 -j ACCEPT", 2),
    catches("NE210", "*nat; :w; -A PREROUTING -d 192.0.2.1 -j w; -A w -p tcp --dport 80 -j DNAT "
            "--to-destination 10.20.0.80:8080; *filter; -A FORWARD -s 10.20.0.0/24 -i lan0 -j ACCEPT"),
    passes("NE211", "*nat; -A POSTROUTING -s 10.244.0.0/16 -o eth0 -j MASQUERADE"),
    passes("NE211", "*nat; -A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE"),
    passes("NE211", "*nat; -A POSTROUTING -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN; "
           "-A POSTROUTING -s 10.244.0.0/16 -j MASQUERADE"),
    passes("NE211", "*nat; :out; -A POSTROUTING -o ppp0 -j out; -A out -s 10.244.0.0/16 -j MASQUERADE"),
    passes("NE211", "*nat; -A POSTROUTING -s 10.244.0.7 -j MASQUERADE"),
    catches("NE211", "*nat; -A POSTROUTING -s 10.244.0.0/16 -j MASQUERADE"),
    catches("NE211", "*nat; -A POSTROUTING -s 10.0.0.0/24 -j SNAT --to-source 192.0.2.1"),
    catches("NE211", "*nat; -A POSTROUTING -s 10.244.0.0/16 -d 10.244.9.0/24 -j RETURN; "
            "-A POSTROUTING -s 10.244.0.0/16 -j MASQUERADE"),
    passes("NE212", f"-A INPUT {EST[11:]}; {MANY}"),
    passes("NE212", f"{MANY[:100].rpartition('; ')[0]}; -A INPUT {EST[11:]}"),
    passes("NE212", f"{MANY}; -A INPUT -p tcp {EST[11:]}", "asks for more"),
    catches("NE212", f"{MANY}; -A INPUT {EST[11:]}", 12),
    catches("NE212", f"{MANY}; -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT", 12),
    catches("NE212", f"{MANY.replace('INPUT', 'FORWARD')}; {EST}", 12),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_cases(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", [case for case in CASES if case.found])
def test_every_finding_has_a_packet(case: Case) -> None:
    for finding in findings_of(expand(case.text), case.code):
        assert finding.witness is not None
        assert finding.witness.command.startswith("netemu trace ")
