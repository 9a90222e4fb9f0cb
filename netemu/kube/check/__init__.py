"""A node's saved rules, sets and virtual servers against the Kubernetes objects they come from.

Theory of operation: `settings` reads off the saved rules what the objects do not say (mode,
version, mark, pod range). With that the renderer says what kube-proxy would have programmed, and
`iptables`, `ipvs` and `userspace` compare the two Service by Service: where addresses lead, which
endpoints a chain chooses among, what is masqueraded. Texts are never compared: a rule counts by
what it asks and does, without comments and counters, so that printing habits, foreign rules and
the order of Services do not matter.

What differs is a `Fault`, a plain value. It carries a claim about packets and the packets to try it
with; whoever has an engine sends them and drops the fault that no packet shows.
"""
