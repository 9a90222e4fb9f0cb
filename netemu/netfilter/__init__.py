"""Netfilter: hooks, conntrack, NAT, tables and their extensions.

The folders follow the kernel's own (net/netfilter, net/ipv4/netfilter). The IP layer below knows
only the hook list of `hook.py`; everything else registers there with the kernel's priorities.
"""
