"""Exact reasoning about all packets at once: which of them reach a rule, and what becomes of them.

Kernel: none; what is modelled is ipt_do_table and the hooks (net/ipv4/netfilter/ip_tables.c).

A set of packets is an int (`bdd.py`: equal sets are equal ints). `space_of` says which packets
there can be for some rule sets, at a node where one is given; `Reach` walks a rule set with all of
them. Of a rule it says `reached` (the packets that may come to it), `taken` (those that match it
there) and `asked` (those that come to its chain and would match it if it stood first), all as the
packets entered the node; `is_reached`, `takes_any` and `asks_any` answer the same with yes or no,
and are cheap. Two rule sets that share a space can be compared.

What a packet does not tell is a variable besides its fields: `statistic` and `limit` draw one for
each rule (with its exact probability where there is one), a `string` is the same for all rules
that look for it, and what is not modelled is marked: `space.reasons(packets)` lists what of that an
answer depends on. A match says what it takes in its own extension file (`packets=`), a target what
it changes (`effect=`).

>>> from netemu.analysis.node import space_of
>>> from netemu.analysis.reach import Reach
>>> from netemu.ruleset import parse_ruleset
>>> rules = parse_ruleset(
...     '''*filter
... :INPUT ACCEPT [0:0]
... -A INPUT -p tcp -m tcp --dport 1:30000 -j ACCEPT
... -A INPUT -p tcp -m tcp --dport 20000:65535 -j ACCEPT
... -A INPUT -p tcp -m tcp --dport 22 -j DROP
... COMMIT
... ''',
...     "example",
... )
>>> space = space_of([rules])
>>> reach = Reach(rules, space)
>>> [(rule.number, rule.is_reached, rule.takes_any) for rule in reach.rules()]
[(1, True, True), (2, True, True), (3, True, False)]
>>> shadowed = reach.rule("filter", "INPUT", 3)
>>> space.diagram.within(shadowed.asked, reach.rule("filter", "INPUT", 1).taken)
True
>>> [(fate.verdict, fate.decided_by.number) for fate in reach.fates()]
[]
"""
