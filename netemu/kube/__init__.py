"""Kubernetes Services as kube-proxy sees them: objects in, rules and sets out.

What is written here is text for iptables-restore, ipset and ipvsadm, as kube-proxy hands it over;
the ruleset floor reads it like any file, so a generated node and a saved one are the same thing.
"""
