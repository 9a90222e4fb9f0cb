"""ipvsadm's text is read as the tool reads it."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.ipvs.text import save_rules
from netemu.ruleset.ipvsadm import IPV6_LEFT_OUT, apply_ipvs, parse_ipvs

SAVED = """-A -t 10.96.0.1:443 -s rr -p 10800
-A -t 10.96.0.2:80 -s sh -b sh-fallback,sh-port
-A -u 10.96.0.10:53 -s wlc -o
-A -f 7 -s mh -p 60 -M 255.255.255.0 -b mh-port
"""

LISTED = """IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.96.0.1:443 rr persistent 10800
TCP  10.96.0.2:80 sh (sh-fallback,sh-port)
UDP  10.96.0.10:53 wlc ops
FWM  7 mh (mh-port) persistent 60 mask 255.255.255.0
"""


@pytest.mark.parametrize("text", [SAVED, LISTED])
def test_both_forms_say_the_same(text):
    net = Net()
    assert apply_ipvs(net, text) == []
    assert save_rules(net) == SAVED


def test_ipv6_is_left_out_with_a_note():
    found = parse_ipvs("-A -t [fd00::1]:80 -s rr\n-A -t 10.0.0.1:80 -s rr\n")
    assert found.notes == [IPV6_LEFT_OUT]
    assert len(found.commands) == 1


@pytest.mark.parametrize(
    "text, place, message",
    [
        ("-A -t 10.0.0.1:99999", "f:1:7", 'illegal port "99999"'),
        ("-A -t nowhere:80", "f:1:7", 'illegal address "nowhere"'),
        ("-A -t 10.0.0.1:80 -q", "f:1:19", 'unknown option "-q"'),
        ("-A -t 10.0.0.1:80 -s", "f:1:19", 'option "-s" requires an argument'),
        ("\n-A -t 10.0.0.1:80 -s lrr", "f:2:1", "Scheduler or persistence engine not found"),
        ("-A -t 10.0.0.1:0 -s rr", "f:1:21", "Zero port specified for non-persistent service"),
        ("-a -t 10.0.0.1:80 -r 10.0.0.2", "f:1:1", "Service not defined"),
        ("-A -t 10.0.0.1:80\n-A -t 10.0.0.1:80", "f:2:1", "Service already exists"),
        ("-A -t 10.0.0.1:80 -s rr -b sh-port", "f:1:28", 'illegal scheduling flag "sh-port"'),
        ("-t 10.0.0.1:80", "f:1:4", "no command specified"),
        ("-A -s rr", "f:1:7", "no service specified"),
        ("-A -t 1.1.1.1:1 -E", "f:1:17", "multiple commands specified"),
    ],
)
def test_errors_say_where(text, place, message):
    with pytest.raises(RulesetError) as caught:
        apply_ipvs(Net(), text, "f")
    assert str(caught.value).startswith(f"{place}: ")
    assert message in str(caught.value)
