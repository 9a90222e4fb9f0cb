"""Network address translation on top of conntrack.

`core` binds connections, `unique_tuple` chooses, `proto` and `icmp` rewrite packets, `masquerade`
and `redirect` choose the address, `hooks` registers it all and asks the nat tables.

A connection is translated by what its two tuples say: its reply tuple is the inverse of what its
packets look like after translation, so answers are recognised and translated back without a rule.
"""
