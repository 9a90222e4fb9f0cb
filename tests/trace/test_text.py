"""The view for eyes: verdict first, stages in order, no escape sequence unless asked for."""

from __future__ import annotations

from msgspec import structs

from netemu import events
from netemu.events import Stamp
from netemu.trace.text import render_text, what_became

EXPECTED = """\
ACCEPT  left through veth1 as tcp 192.0.2.9:40000 > 10.244.1.5:8080 S
#1 tcp 192.0.2.9:40000 > 10.96.0.10:80 S  in eth0
  L2           eth0            02:00:00:00:00:01 > 02:00:00:00:00:99, to us, 54 octets
  PREROUTING   conntrack       NEW  new entry tcp 6 120 SYN_SENT src=192.0.2.9 dst=10.96.0.10
               nat/PREROUTING  :13   -j SERVICES  "service portals"
               nat/MARKER      :16   -j MARK --or-mark 0x4000  mark 0x0 -> 0x4000
               nat/WEB         :24   -m statistic --mode random --probability 0.5 -j SEP  draw 0.250 of 0.500: hit
               nat/SEP         :27   -p tcp -j DNAT --to-destination 10.244.1.5:8080  10.96.0.10:80 -> 10.244.1.5:8080
  ROUTE        table main      10.244.1.5: 10.244.1.0/24 dev cni0
  FORWARD      packet          ttl 64 -> 63
               filter/FORWARD  policy ACCEPT
  POSTROUTING  conntrack       entry confirmed tcp 6 120 SYN_SENT src=192.0.2.9 dst=10.96.0.10
  L2 OUT       cni0            neighbour 10.244.1.5 is 02:00:00:00:00:88 REACHABLE  assumed, nobody answers for it
               cni0            fdb says veth1
               veth1           sends 02:00:00:00:00:01 > 02:00:00:00:00:88, 54 octets, which leave the node
               kernel log      TRACE: nat:SEP:rule:1 IN=eth0
#2 arp request, caused by #1
  LOCAL        makes           arp request: arp who-has 10.244.1.5 tell 10.244.1.1
  L2           veth1           sends 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, 42 octets, which leave the node

outcomes
                     1/2   50.0000 %  ACCEPT  to 10.244.1.5:8080  masqueraded  port:veth1
"""


def test_the_whole_view(trace):
    assert render_text(trace) == EXPECTED


def test_colours_change_nothing_but_escapes(trace):
    import re

    painted = render_text(trace, colour=True)
    assert "\033[1;32mACCEPT\033[0m" in painted
    plain = re.sub(r"\033\[[0-9;]*m", "", painted)
    assert plain == EXPECTED
    assert "\033" not in render_text(trace, everything=True)


def test_the_answer_follows(trace, passage):
    trace.reply = structs.replace(passage, verdict="STOLEN", told=[])
    assert "\nthe answer\nSTOLEN  still held\n" in render_text(trace)
    trace.reply, trace.reply_note = None, "nobody answers"
    assert "no answer: nobody answers\n" in render_text(trace)


def ended(passage, event, **fields):
    told = [(Stamp(time_ns=0, node="", packet_id=1, parent_id=0), event)]
    return what_became(structs.replace(passage, told=told, delivered_to=None, **fields))


def test_the_end_names_who_decided(passage):
    def issued(*, policy, line):
        return events.VerdictIssued(
            table="filter", chain="FORWARD", rule=3, line=line, verdict="DROP", policy=policy
        )

    drop = {"verdict": "DROP", "reason": "NETFILTER_DROP"}
    by_rule = ended(passage, issued(policy=False, line=31), **drop)
    assert by_rule == "NETFILTER_DROP by filter/FORWARD :31"
    assert ended(passage, issued(policy=False, line=None), **drop).endswith("filter/FORWARD #3")
    by_policy = ended(passage, issued(policy=True, line=None), **drop)
    assert by_policy == "NETFILTER_DROP by the policy of filter/FORWARD"


def test_a_packet_that_waits_says_for_what(passage):
    queued = events.PacketQueued(where="reassembly")
    assert ended(passage, queued, verdict="STOLEN") == "still held, waits for reassembly"


def test_a_packet_that_was_delivered_says_to_whom(passage):
    taken = events.PacketDelivered(what="icmp echo")
    told = [(Stamp(time_ns=0, node="", packet_id=1, parent_id=0), taken)]
    local = structs.replace(passage, told=told, delivered_to="node:pod")
    assert what_became(local) == "delivered to pod (icmp echo)"


def test_a_packet_of_the_node_says_so(trace, passage):
    trace.passage = structs.replace(passage, entered="", packet=passage.packet[14:])
    assert "\n#1 tcp 192.0.2.9:40000 > 10.96.0.10:80 S  sent by the node\n" in render_text(trace)


def test_the_class_is_the_last_line(trace, passage):
    trace.passage = structs.replace(passage, shared_by="tcp any > 10.96.0.10:80 in eth0")
    shown = render_text(trace)
    assert "\n  CLASS        tcp any > 10.96.0.10:80 in eth0\n" in shown
