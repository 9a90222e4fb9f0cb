"""`netemu explain`: pages of extensions, rules and chains in words."""

from __future__ import annotations

import pytest

RULES = """\
*mangle
:WEB - [0:0]
-A PREROUTING ! -s 10.0.0.0/8 -i eth+ -p tcp -m multiport ! --dports 22,80:90 -j MARK --set-mark 5/7
-A PREROUTING -p tcp --syn -m mark --mark 0x4/0xf -g WEB
-A WEB -s 10.0.0.1,10.0.0.2 -j DROP
-A WEB
COMMIT
"""


@pytest.fixture
def rule_file(tmp_path):
    path = tmp_path / "rules"
    path.write_text(RULES)
    return str(path)


def test_a_name_is_a_page_of_its_declaration(netemu):
    page = netemu("explain", "statistic").out
    assert page.startswith("-m statistic   match, IPv4 and IPv6, xt_statistic.c\n")
    assert "  [!] --probability 0-1 " in page
    assert "Not with --every, --packet." in page
    assert "Needs --packet." in page


def test_tables_hooks_and_protocols_are_on_the_page(netemu):
    assert "Only in table nat.\n  Only from PREROUTING, OUTPUT.\n" in netemu("explain", "DNAT").out
    assert "Only with -p tcp." in netemu("explain", "tcp").out
    assert "Differs from Linux:" in netemu("explain", "cpu").out


def test_one_name_may_be_several_extensions(netemu):
    """REJECT is one target for IPv4 and another for IPv6, and small letters will do."""
    page = netemu("explain", "reject").out
    assert "-j REJECT   target, IPv4, ipt_REJECT.c" in page
    assert "-j REJECT   target, IPv6, ip6t_REJECT.c" in page


def test_letters_tell_a_match_from_a_target(netemu):
    assert netemu("explain", "mark").out.startswith("-m mark ")
    assert netemu("explain", "MARK").out.startswith("-j MARK ")


def test_an_unknown_name_is_usage_and_names_what_is_near(netemu):
    done = netemu("explain", "statistics")
    assert (done.code, done.out) == (2, "")
    assert "near are statistic" in done.err


def test_a_rule_is_said_in_words(netemu, rule_file):
    lines = netemu("explain", f"{rule_file}:3").out.splitlines()
    assert lines[0] == f"{rule_file}:3: table mangle, chain PREROUTING, rule 1 of 2"
    assert lines[2] == "  Packets come here from PREROUTING."
    assert lines[4:9] == [
        "  A packet of which all of this is true:",
        "    - its source is not in 10.0.0.0/8",
        "    - the device it came in by is one whose name begins with eth",
        "    - its protocol is tcp",
        "    - multiport: the destination port is not in 22,80:90",
    ]
    assert lines[9].startswith("  => MARK: ")
    assert lines[-1] == "  Any other goes on with rule 2 (line 4)."


def test_a_jump_says_where_it_goes(netemu, rule_file):
    out = netemu("explain", f"{rule_file}:4").out
    assert "tcp: of the flags FIN,SYN,RST,ACK just SYN is set" in out
    assert "=> goes on in chain WEB (3 rules), and does not come back here" in out
    assert out.endswith("What gets to the end of the chain meets the policy ACCEPT.\n")


def test_a_line_of_two_rules_says_both(netemu, rule_file):
    out = netemu("explain", f"{rule_file}:5").out
    assert "chain WEB, rule 1 of 3" in out
    assert "chain WEB, rule 2 of 3" in out
    assert "its source is in 10.0.0.2/32" in out


def test_a_rule_without_conditions(netemu, rule_file):
    out = netemu("explain", f"{rule_file}:6").out
    assert "  Every packet:\n  => is counted, and goes on with the next rule\n" in out


def test_a_chain_says_what_leads_to_it(netemu, rule_file):
    assert netemu("explain", f"{rule_file}:2").out.splitlines() == [
        f"{rule_file}:2: table mangle, chain WEB, 3 rules",
        "  Packets come here from PREROUTING.",
        "  rule 2 of PREROUTING (line 4) goes on here",
        "  What gets to the end of the chain goes back to where it came from.",
    ]


def test_a_line_without_a_rule(netemu, rule_file):
    done = netemu("explain", f"{rule_file}:1")
    assert done.code == 3
    assert done.err.startswith(f"{rule_file}:1: no rule and no chain stands here; ")


def test_a_scheduler(netemu):
    shown = netemu("explain", "sh").out
    assert "scheduler of IPVS, net/netfilter/ipvs/ip_vs_sh.c" in shown
    assert "sh-fallback" in shown
    both = netemu("explain", "mh").out
    assert "Maglev" in both
    assert len(both.splitlines()) > len(shown.splitlines())
