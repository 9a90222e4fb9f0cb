"""Rules NE301 to NE316 find defects that are planted in kube-proxy's own rules, and nothing else."""

from __future__ import annotations

import re

import pytest

from tests.lint.cases import findings_of
from tests.lint.kube_scene import clean, line_of, planted

WEB = "KUBE-SVC-CDGGSHYLG3RE2FKL"
WEB_1, WEB_2, WEB_3 = (
    "KUBE-SEP-AFGSLHOD2HFNCBX4",
    "KUBE-SEP-OAIGUPJHOE4YU7HS",
    "KUBE-SEP-3OLK2YUW6LHBC4UX",
)
STICKY = "KUBE-SVC-ZRW2IZUANS4E5N2L"
STICKY_1 = "KUBE-SEP-2EAYR5UZ275HVR4P"
OUT = "KUBE-SVC-QB46YULHEBLQKAPY"
OUT_EXT = "KUBE-EXT-QB46YULHEBLQKAPY"
LOCAL_EXT = "KUBE-EXT-V7ZMVOA2AOW6ATRL"
CHOICE_1 = "--probability 0.33333333349 -j KUBE-SEP-AFGSLHOD2HFNCBX4"
CHOICE_2 = f"--probability 0.50000000000 -j {WEB_2}"
CHOICE_3 = f'10.244.2.6:8080" -j {WEB_3}'
PORTALS = '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES'

PLANTED = [
    # (code, what is replaced, by what, a piece of the line that is to be found)
    ("NE301", f"-A {WEB_1} -p tcp", "", f":{WEB_1} "),
    ("NE301", f"-A {OUT_EXT} -j {OUT}", "", f":{OUT_EXT} "),
    ("NE301", "-A KUBE-FW-QB46YULHEBLQKAPY -s 203", "", ":KUBE-FW-QB46YULHEBLQKAPY "),
    ("NE302", CHOICE_1, CHOICE_1.replace("0.33333333349", "0.5"), f"0.5 -j {WEB_1}"),
    ("NE302", CHOICE_2, CHOICE_2.replace("0.50000000000", "0.33333333349"), f"0.33333333349 -j {WEB_2}"),
    ("NE302", CHOICE_3, CHOICE_3.replace('" -j', '" -m statistic --mode random --probability 0.5 -j'),
     f"0.5 -j {WEB_3}"),
    ("NE302", CHOICE_2, "", CHOICE_1),
    ("NE303", f"-A {WEB_1} -s 10.244.1.5/32", "", f"-A {WEB_1} -p"),
    ("NE303", f"-A {WEB_2} -s 10.244.2.5/32", f"-A {WEB_2} -s 10.244.2.9/32", f"-A {WEB_2} -p"),
    ("NE303", f"-A {STICKY_1} -s 10.244.1.5/32", "", f"-A {STICKY_1} -p"),
    ("NE304", CHOICE_1, "", f":{WEB_1} "),
    ("NE304", f"-j {WEB}", "", f":{WEB} "),
    ("NE304", "0.33333333349 -j KUBE-SEP-HW5BSW6HZ6OI3FUP", "", ":KUBE-SEP-HW5BSW6HZ6OI3FUP "),
    ("NE304", "-j KUBE-FW-QB46YULHEBLQKAPY", "", ":KUBE-FW-QB46YULHEBLQKAPY "),
    ("NE305", f'-A {WEB_1} -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT'
     " --to-destination 10.244.1.5:8080",
     f'-A {WEB_1} -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT'
     " --to-destination 10.9.9.9:8080", "10.9.9.9:8080"),
    ("NE305", f"--dport 80 -j {WEB}", f"--dport 80 -j {STICKY}", '"default/web:http cluster IP"'),
    ("NE305", '-m comment --comment "default/web-sticky cluster IP" -m tcp --dport 80 -j KUBE-SVC',
     '-m comment --comment "default/other cluster IP" -m tcp --dport 80 -j KUBE-SVC',
     "default/other"),
    ("NE307", "*filter\n", "*filter\n-A FORWARD -i eth0 -j MARK --set-xmark 0x4000/0xffffffff\n",
     "0x4000/0xffffffff"),
    ("NE308", PORTALS, f"-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128\n{PORTALS}",
     "3128"),
    ("NE308", PORTALS, f"-A PREROUTING -d 10.96.0.0/12 -j ACCEPT\n{PORTALS}", "10.96.0.0/12 -j"),
    ("NE308", f"-A {WEB} ! -s", f"-A {WEB} -s 10.244.0.0/16 -j ACCEPT\n-A {WEB} ! -s",
     f"-A {WEB} -s 10.244.0.0/16 -j ACCEPT"),
    ("NE309", ":FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:KUBE-EXT",
     ":FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:KUBE-EXT", ":FORWARD DROP"),
    ("NE311", f"--rsource -j {STICKY_1}", "", f"0.33333333349 -j {STICKY_1}"),
    ("NE311", f"--set --name {STICKY_1}", "--set --name KUBE-SEP-OTHER", f"--rsource -j {STICKY_1}"),
    ("NE311", f"0.33333333349 -j {STICKY_1}", "", f"--rsource -j {STICKY_1}"),
    ("NE312", PORTALS, "", "chain PREROUTING"),
    ("NE312", "-j KUBE-POSTROUTING", "", "chain POSTROUTING"),
    ("NE312", "-j KUBE-NODEPORTS\n-A KUBE-SVC", "-j RETURN\n-A KUBE-SVC", ":KUBE-SERVICES"),
    ("NE313", "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
     "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x8000/0x8000", "! --mark 0x4000/0x4000"),
    ("NE313", "-j MASQUERADE --random-fully", "", ":KUBE-POSTROUTING"),
    ("NE313", "! --mark 0x4000/0x4000 -j RETURN", "", ":KUBE-POSTROUTING"),
    ("NE314", f"-A {OUT_EXT} -m comment", "", f"-A {OUT_EXT} -j {OUT}"),
    ("NE314", f"-A {WEB} ! -s", "", f":{WEB} "),
    ("NE314", "masquerade LOCAL traffic", "", "route LOCAL traffic"),
    ("NE315", 'default/web-local:http cluster IP" -m tcp --dport 80 -j KUBE-SVC', "",
     "-A KUBE-SVC-V7ZMVOA2AOW6ATRL ! -s"),
    ("NE316", "traffic not accepted by", "", "-j KUBE-FW-QB46YULHEBLQKAPY"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "old", "new", "piece"), PLANTED)
def test_a_planted_defect_is_found_where_it_is(code: str, old: str, new: str, piece: str) -> None:
    text = planted(clean(), old, new) if "\n" not in old + new else clean().replace(old, new, 1)
    assert text != clean()
    found = [one for one in findings_of(text, code) if one.code == code]
    places = {one.span.line if one.span else None for one in found}
    expected: int | str = piece
    if piece.startswith("chain "):
        places = {f"chain {one.chain}" for one in found}
    else:
        expected = line_of(text, piece)
    assert expected in places, [(one.message, one.span) for one in found]
    assert all(one.witness is not None for one in found)


def test_nodeports_before_others() -> None:
    """Moving the jump to KUBE-NODEPORTS to the front of KUBE-SERVICES is told at its new place."""
    lines = clean().splitlines()
    jump = next(line for line in lines if line.endswith("-j KUBE-NODEPORTS") and "addrtype" in line)
    lines.remove(jump)
    first = next(at for at, line in enumerate(lines) if line.startswith("-A KUBE-SERVICES -d"))
    lines.insert(first, jump)
    text = "\n".join([*lines, ""])
    assert [one.span.line for one in findings_of(text, "NE306") if one.span] == [first + 1]


@pytest.mark.parametrize(
    ("mode", "version"),
    [("iptables", one) for one in ("1.20", "1.25", "1.30", "1.33")]
    + [("ipvs", one) for one in ("1.25", "1.33")]
    + [("userspace", "1.25")],
)
def test_what_kube_proxy_writes_is_clean(mode: str, version: str) -> None:
    """All releases' rules are without findings."""
    found = [one for one in findings_of(clean(mode, version), "NE3") if one.code != "NE310"]
    assert [(one.code, one.message) for one in found] == []


PASSES = [
    # (code, what is replaced, by what): near misses
    ("NE302", CHOICE_1, CHOICE_1.replace("0.33333333349", "0.33333")),
    ("NE303", f"-A {WEB_1} -s 10.244.1.5/32", f"-A {WEB_1} -s 10.244.1.0/24"),
    ("NE304", f'10.244.1.5:8080" -m statistic --mode random {CHOICE_1}',
     f'10.244.1.5:8080" -m comment --comment more -m statistic --mode random {CHOICE_1}'),
    ("NE307", "*filter\n", "*filter\n-A FORWARD -i eth0 -j MARK --set-xmark 0x1/0xff\n"),
    ("NE307", "*mangle\n", "*mangle\n-A PREROUTING -i eth0 -j MARK --set-xmark 0x1/0xffffffff\n"),
    ("NE308", PORTALS, f"-A PREROUTING -p tcp -m tcp --dport 8443 -j REDIRECT --to-ports 3128\n{PORTALS}"),
    ("NE308", PORTALS, f"-A PREROUTING -d 192.0.2.99/32 -p tcp -m tcp --dport 80 -j DNAT"
     f" --to-destination 172.17.0.2\n{PORTALS}"),
    ("NE308", PORTALS, f"{PORTALS}\n-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128"),
    ("NE309", ":FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:KUBE-EXT",
     ":FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:KUBE-EXT"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "old", "new"), PASSES)
def test_a_near_miss_is_not_found(code: str, old: str, new: str) -> None:
    text = clean().replace(old, new, 1)
    assert text != clean()
    if code == "NE309":
        text = text.replace(
            "-A KUBE-FIREWALL", "-A FORWARD -s 10.244.0.0/16 -j ACCEPT\n-A KUBE-FIREWALL", 1
        )
    assert [one.message for one in findings_of(text, code) if one.code == code] == []


def test_the_clients_of_a_sticky_node_port() -> None:
    """Affinity for clients from outside the cluster is told, with a client that is known."""
    text = clean().replace(f"-j {OUT}\n", f"-j {STICKY}\n", 1)
    found = findings_of(text, "NE310")
    assert re.search(r"100 clients", found[0].message)
    assert found[0].witness is not None
    assert len(found[0].witness.setup) == 1
    assert findings_of(clean(), "NE310") == []


def test_a_mark_behind_a_device() -> None:
    """A packet that comes in by the device shows what the rule does to it."""
    rule = "-A PREROUTING -i eth1 -p udp -m udp --dport 26538 -j MARK --set-xmark 0x4001/0xffff"
    text = clean().replace("COMMIT", f"{rule}\nCOMMIT", 1)
    found = findings_of(text, "NE307")
    assert [one.span.line for one in found if one.span] == [line_of(text, rule)]
    assert found[0].witness is not None
    assert found[0].witness.device == "eth1"


def test_a_mark_that_is_cleared_must_have_been_set() -> None:
    """Clearing the mark of packets that kube-proxy does not masquerade harms nobody."""
    rule = "-A FORWARD {0} -j MARK --set-xmark 0x0/0xffffffff"
    clients = clean().replace("COMMIT", f"{rule.format('-s 203.0.113.0/24')}\nCOMMIT", 1)
    others = clean().replace("COMMIT", f"{rule.format('-d 198.18.0.0/15')}\nCOMMIT", 1)
    assert len(findings_of(clients, "NE307")) == 1
    assert findings_of(others, "NE307") == []


def test_forward_is_closed_in_any_table() -> None:
    text = clean().replace(":FORWARD ACCEPT", ":FORWARD DROP", 1)
    assert [(one.table, one.chain) for one in findings_of(text, "NE309")] == [("mangle", "FORWARD")]


def test_a_set_that_is_missing_keeps_packets_from_being_tried() -> None:
    """Without the sets no node can be built, and what no packet shows is not told."""
    text = planted(clean(), CHOICE_1, CHOICE_1.replace("0.33333333349", "0.5"))
    text = text.replace("*filter\n", "*filter\n-A INPUT -m set --match-set gone src -j DROP\n", 1)
    assert findings_of(text, "NE302") == []
