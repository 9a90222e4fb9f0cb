"""NE1xx: rules and chains that do nothing, near misses first."""

from __future__ import annotations

import shlex

import pytest

from tests.lint.cases import catches, check, expand, findings_of, passes

SSH = "-p tcp -m tcp --dport 22"

CASES = [
    # NE101: taken by one rule, or by several
    passes("NE101", "-A INPUT -s 10.0.0.0/9 -j DROP; -A INPUT -s 10.0.0.0/8 -j ACCEPT"),
    passes("NE101", f"-A INPUT -p udp -j DROP; -A INPUT {SSH} -j ACCEPT"),
    passes("NE101", "-A INPUT -s 10.0.0.0/8 -j LOG; -A INPUT -s 10.1.0.0/16 -j DROP", "LOG goes on"),
    passes("NE101", "-A INPUT -m limit --limit 1/s -j ACCEPT; -A INPUT -s 10.1.0.0/16 -j DROP"),
    passes("NE101", ":web; -A INPUT -p tcp -j web; -A web -s 10.0.0.0/8 -j RETURN; -A web -j DROP;"
           " -A INPUT -p tcp -s 10.0.0.0/8 -j ACCEPT"),
    passes("NE101", "-A INPUT -i eth0 -j DROP; -A INPUT -i eth+ -j ACCEPT"),
    passes("NE101", "-A INPUT -j MARK --set-xmark 0x1/0x1; -A INPUT -m mark --mark 0x1/0x1 -j DROP"),
    passes("NE101", "-A INPUT ! -s 10.0.0.0/8 -j DROP; -A INPUT -s 10.1.1.1 -j ACCEPT"),
    catches("NE101", "-A INPUT -s 10.0.0.0/8 -j DROP; -A INPUT -s 10.1.0.0/16 -j ACCEPT", 3),
    catches("NE101", f"-A INPUT -p tcp -j DROP; -A INPUT {SSH} -j ACCEPT", 3),
    catches("NE101", "-A INPUT -s 10.0.0.0/9 -j DROP; -A INPUT -s 10.128.0.0/9 -j DROP;"
            f" -A INPUT -s 10.9.9.9 {SSH} -j ACCEPT", 4),
    catches("NE101", "-A INPUT -p tcp -m tcp --dport 1:30000 -j DROP;"
            " -A INPUT -p tcp -m tcp --dport 20000:65535 -j DROP;"
            " -A INPUT -p tcp -m multiport --dports 22,443 -j ACCEPT", 4),
    catches("NE101", ":web; -A INPUT -p tcp -j web; -A web -j DROP; -A INPUT -p tcp -j ACCEPT", 5),
    catches("NE101", "-A INPUT ! -s 10.0.0.0/8 -j DROP; -A INPUT -s 192.168.0.1 -j ACCEPT", 3),
    catches("NE101", "-A FORWARD -i eth0 -j DROP; -A FORWARD -i eth0 -o eth1 -j ACCEPT", 3),
    catches("NE101", "-A INPUT -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT;"
            f" -A INPUT {SSH} -m state --state NEW -j DROP", 3),
    catches("NE101", "*nat; -A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1;"
            " -A PREROUTING -d 192.0.2.1 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2", 3),
    passes("NE101", "-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT;"
           " -A INPUT -m state --state INVALID -j DROP; -A INPUT -p icmp -m icmp --icmp-type 3 -j ACCEPT;"
           " *raw; -A PREROUTING -p udp -j LOG", "that conntrack never takes it for NEW is beside the point"),
    passes("NE101", ":DOCKER; -A FORWARD -j DOCKER; -A DOCKER -i eth0 -j DROP; -A DOCKER -i eth0 -j DROP", "docker's"),
    catches("NE101", ":DOCKER; -A FORWARD -j DOCKER; -A DOCKER -i eth0 -j DROP; -A DOCKER -i eth0 -j ACCEPT", 5),
    passes("NE101", "-A INPUT -j MARK --set-xmark 0x0/0x3; -A INPUT -m mark --mark 0x2/0x2 -j DROP;"
           " -A INPUT -m mark --mark 0x1/0x1 -j ACCEPT", "nothing takes marks that are cleared: NE106"),
    catches("NE101", "-A INPUT -s 10.0.0.0/8 -j MARK --set-xmark 0x1/0x1; -A INPUT -m mark --mark 0x1/0x1 -j DROP;"
            " -A INPUT -m mark --mark 0x1/0x1 -j ACCEPT", 4),
    catches("NE101", "-A INPUT -m conntrack --ctstate RELATED -j ACCEPT; -A INPUT -p icmp -m state --state RELATED -j DROP", 3),
    catches("NE101", "-A INPUT -m conntrack --ctstate RELATED -j ACCEPT;"
            " -A INPUT -p tcp -m conntrack --ctstate RELATED -j DROP", 3),
    catches("NE101", "-A INPUT -p gre -j ACCEPT; -A INPUT -p 47 -s 10.0.0.0/8 -j DROP", 3),
    # NE102: behind a rule that takes all
    passes("NE102", "-A INPUT -j LOG; -A INPUT -s 10.0.0.1 -j ACCEPT"),
    passes("NE102", ":web; -A INPUT -j web; -A web -p tcp -j DROP; -A INPUT -s 10.0.0.1 -j ACCEPT"),
    passes("NE102", "-A INPUT -m limit --limit 1/s -j ACCEPT; -A INPUT -s 10.1.0.0/16 -j DROP"),
    catches("NE102", f"-A INPUT -j DROP; -A INPUT {SSH} -j ACCEPT", 3),
    catches("NE102", ":web; -A INPUT -j web; -A web -j DROP; -A INPUT -s 10.0.0.1 -j ACCEPT", 5),
    catches("NE102", ":web; -A INPUT -g web; -A web -p tcp -j DROP; -A INPUT -s 10.0.0.1 -j ACCEPT", 5),
    catches("NE102", ":web; -A INPUT -p tcp -j web; -A web -j RETURN; -A web -j DROP", 5),
    catches("NE102", ":INPUT DROP; -A INPUT -p tcp -j REJECT; -A INPUT -j DROP;"
            " -A INPUT -p tcp -m tcp --dport 7250 -j DROP", 5),
    # NE103
    passes("NE103", ":ufw-user-logging-input; -A INPUT -j ACCEPT", "ufw declares it, used or not"),
    passes("NE103", ":web; -A INPUT -j web; -A web -j DROP"),
    passes("NE103", ":web; :www; -A INPUT -j web; -A web -g www; -A www -j DROP"),
    passes("NE103", ":KUBE-NODEPORTS; -A KUBE-NODEPORTS -j DROP", "kube-proxy makes it"),
    catches("NE103", ":web; -A web -j DROP", 2),
    catches("NE103", ":web; :www; -A web -j www; -A www -j DROP", 3),
    catches("NE103", ":web; -A INPUT -j ACCEPT", 2),
    # NE105
    passes("NE105", ":INPUT ACCEPT; -A INPUT -s 10.0.0.1 -j ACCEPT; -A INPUT -s 10.0.0.0/8 -j DROP"),
    passes("NE105", ":INPUT DROP; -A INPUT -s 10.0.0.1 -j ACCEPT; -A INPUT -j LOG;"
           " -A INPUT -s 10.0.0.0/8 -j ACCEPT", "it spares the log a line"),
    passes("NE105", ":INPUT ACCEPT; -A INPUT -s 10.0.0.0/8 -j ACCEPT; -A INPUT -j DROP"),
    passes("NE105", ":INPUT ACCEPT; -A INPUT -s 10.0.0.1 -j REJECT; -A INPUT -s 10.0.0.0/8 -j DROP"),
    catches("NE105", ":INPUT DROP; -A INPUT -s 10.0.0.1 -j ACCEPT; -A INPUT -s 10.0.0.0/8 -j ACCEPT", 3),
    catches("NE105", ":INPUT DROP; -A INPUT -p tcp -j ACCEPT; -A INPUT -s 10.0.0.1 -j DROP", 4),
    catches("NE105", ":INPUT ACCEPT; -A INPUT -p tcp -s 10.0.0.0/8 -j ACCEPT; -A INPUT -s 10.0.0.0/9 -j ACCEPT;"
            " -A INPUT -s 10.128.0.0/9 -j ACCEPT; -A INPUT -j DROP", 3),
    catches("NE105", ":web; -A INPUT -j web; -A web -s 10.0.0.1 -j RETURN", 4),
    passes("NE105", ":FORWARD ACCEPT; -A FORWARD -i docker0 ! -o docker0 -j ACCEPT", "docker writes it"),
    passes("NE105", ":DOCKER-USER; -A FORWARD -j DOCKER-USER; -A DOCKER-USER -j RETURN", "docker, too"),
    catches("NE105", ":FORWARD ACCEPT; -A FORWARD -i docker0 ! -o eth0 -j ACCEPT", 3),
    catches("NE105", ":DOCKER-USER; -A FORWARD -j DOCKER-USER; -A DOCKER-USER -s 10.0.0.1 -j RETURN", 4),
    # NE106
    passes("NE106", ":web; -A INPUT -p tcp -j web; -A web -p tcp -m tcp --dport 22 -j ACCEPT"),
    passes("NE106", "-A INPUT -p tcp -m multiport --dports 22,80 -m tcp --dport 22 -j ACCEPT"),
    passes("NE106", "-A INPUT -s 10.0.0.0/8 -m iprange --src-range 10.1.0.0-11.0.0.0 -j ACCEPT"),
    catches("NE106", ":web; -A INPUT ! -p tcp -j web; -A web -p tcp -m tcp --dport 22 -j ACCEPT", 4),
    catches("NE106", "-A INPUT -p tcp -m multiport --dports 22,80 -m tcp --dport 443 -j ACCEPT", 2),
    catches("NE106", "-A INPUT -s 10.0.0.0/8 -m iprange --src-range 11.1.0.0-12.0.0.0 -j ACCEPT", 2),
    catches("NE106", "-A INPUT -m conntrack --ctstate NEW -m conntrack --ctstate ESTABLISHED -j ACCEPT", 2),
    passes("NE106", ":INPUT ACCEPT; -A FORWARD -i lo -j ACCEPT; -A FORWARD -j DROP", "firewalld writes it"),
    passes("NE106", '-A FORWARD -j MARK --set-xmark 0x0/0x1; -A FORWARD -m comment --comment "cali:S93hcgKJrXEqnTfs"'
           " -m mark --mark 0x1/0x1 -j ACCEPT", "Calico signs its rules"),
    catches("NE106", "-A FORWARD -i lo -s 10.0.0.1 -j ACCEPT", 2),
    catches("NE106", "-A INPUT -j MARK --set-xmark 0x0/0x3; -A INPUT -m mark --mark 0x2/0x2 -j DROP;"
            " -A INPUT -m mark --mark 0x1/0x1 -j ACCEPT", 4),
    # NE107
    passes("NE107", ":ufw-user-output; -A OUTPUT -j ufw-user-output", "ufw declares it, used or not"),
    passes("NE107", ":forwarding_lan_rule; -A FORWARD -j forwarding_lan_rule", "OpenWrt's"),
    passes("NE107", ":web; -A INPUT -j web; -A web -j RETURN"),
    passes("NE107", ":web; -A web -j ACCEPT"),
    passes("NE107", ":DOCKER-ISOLATION-STAGE-2; -A FORWARD -j DOCKER-ISOLATION-STAGE-2", "docker's"),
    catches("NE107", ":web; -A INPUT -j web", 2),
    catches("NE107", ":web; -A INPUT -p tcp -g web", 2),
    catches("NE107", ":f2; -A INPUT -p tcp -j f2; -A INPUT -j ACCEPT", 2),
    # NE108, NE109
    passes("NE108", f"-A INPUT -s 10.0.0.1 {SSH} -j ACCEPT; -A INPUT {SSH} -j ACCEPT", "no other verdict"),
    passes("NE108", f"-A INPUT -s 10.0.0.1 {SSH} -j ACCEPT; -A INPUT -j DROP", "this is the policy"),
    passes("NE108", f"-A INPUT -s 10.0.0.1 {SSH} -j LOG; -A INPUT {SSH} -j DROP", "LOG goes on"),
    passes("NE108", "-A INPUT -p tcp -j ACCEPT; -A INPUT -s 10.0.0.1 -j DROP", "that is correlation"),
    passes("NE108", "-A INPUT -p tcp -j ACCEPT; -A INPUT -p udp -j DROP"),
    catches("NE108", f"-A INPUT -s 10.0.0.1 {SSH} -j ACCEPT; -A INPUT {SSH} -j DROP", 3),
    catches("NE108", "-A FORWARD -i eth0 -s 10.1.0.0/16 -j DROP; -A FORWARD -i eth0 -j ACCEPT", 3),
    catches("NE108", f":s; -A INPUT -p tcp -j s; -A s -s 10.0.0.1 {SSH} -j REJECT; -A s -p udp "
            "-j ACCEPT; -A s ! -s 10.0.0.2 -j ACCEPT", 6),
    passes("NE109", f"-A INPUT -s 10.0.0.1 {SSH} -j ACCEPT; -A INPUT {SSH} -j DROP", "all are in it"),
    passes("NE109", "-A INPUT -p tcp -j ACCEPT; -A INPUT -s 10.0.0.1 -j ACCEPT", "no other verdict"),
    passes("NE109", "-A INPUT -p tcp -s 10.0.0.2 -j ACCEPT; -A INPUT -s 10.0.0.1 -j DROP"),
    passes("NE109", ":s; -A INPUT -p tcp -s 10.0.0.1 -j s; -A s -p tcp -j ACCEPT; -A s -s 10.0.0.1 "
           "-j DROP", "alike where they stand"),
    catches("NE109", "-A INPUT -p tcp -j ACCEPT; -A INPUT -s 10.0.0.1 -j DROP", 3),
    catches("NE109", f"-A INPUT -s 10.0.0.0/8 -p tcp -m multiport --dports 22,80 -j DROP; "
            f"-A INPUT -s 10.1.0.0/16 {SSH} -j DROP; -A INPUT -s 8.0.0.0/6 {SSH} -j ACCEPT", 4),
    catches("NE109", ":s; -A INPUT -j s; -A s -i eth0 -j ACCEPT; -A s -p udp -j REJECT", 5),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code} {case.text}"[:90])
def test_a_one_liner(case):
    check(case)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.found], ids=lambda case: f"{case.code} {case.text}"[:90]
)
def test_a_finding_of_a_rule_has_a_packet_that_shows_it(case):
    for found in findings_of(expand(case.text), case.code):
        assert found.witness is not None
        words = shlex.split(found.witness.command)
        assert words[:3] == ["netemu", "trace", "x.rules"]
        assert words[3] == found.witness.packet


V6 = [
    catches("NE101", "-A INPUT -s 2001:db8::/32 -j DROP; -A INPUT -s 2001:db8::1 -j ACCEPT", 3),
    catches("NE101", "-A INPUT -p tcp -m tcp --dport 1:99 -j DROP; -A INPUT -p tcp -m tcp --dport "
            "100:65535 -j DROP; -A INPUT -s 2001:db8::1 -p tcp -m tcp --dport 22 -j ACCEPT", 4),
    catches("NE102", "-A FORWARD -j DROP; -A FORWARD -d 2001:db8::1 -p ipv6-icmp -j ACCEPT", 3),
    catches("NE103", ":web; -A web -s 2001:db8::1 -p udp -j DROP", 2),
    catches("NE103", ":web; -A INPUT -s 2001:db8::1 -j DROP", 2),
    catches("NE105", ":INPUT DROP; -A INPUT -s 2001:db8::1 -j DROP", 3),
    catches("NE106", ":web; -A INPUT -s 2001:db8::1 -p udp -j web; -A web -p tcp -j ACCEPT", 4),
    catches("NE107", ":web; -A INPUT -s 2001:db8::/64 -j web", 2),
]  # fmt: skip


@pytest.mark.parametrize("case", V6, ids=lambda case: f"{case.code} {case.text}"[:90])
def test_a_finding_about_ipv6_has_a_packet_that_nobody_replayed(case):
    text = expand(case.text)
    found = [one for one in findings_of(text, case.code) if one.span.line == case.line]
    assert found
    for one in found:
        assert one.witness is not None
        assert (one.witness.replayed, one.witness.command) == (False, "")
        assert one.witness.packet.count(" > ") == 1
        assert ":" in one.witness.packet.split(" > ")[1]


def test_an_ipv6_packet_is_followed_through_chains_to_its_verdict():
    text = expand(":web; -A INPUT -p tcp -j web; -A INPUT -j DROP; -A web -s 2001:db8:7::/48 -j RETURN; "
                  "-A web -p tcp -m tcp --dport 25 -j REJECT; -A web -s 2001:db8:7::1 -p tcp -j ACCEPT")  # fmt: skip
    (one,) = findings_of(text, "NE101")
    assert one.witness.outcome == "DROP at line 4"
    assert [step.line for step in one.witness.steps] == [3, 5, 4]
