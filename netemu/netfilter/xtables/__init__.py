"""The iptables engine: declarations of extensions, the ruleset model, traversal and log text.

Kernel: net/netfilter/x_tables.c, net/ipv4/netfilter/ip_tables.c, net/netfilter/nf_log_syslog.c.

`kit.py` and `kinds.py` say what an extension is; `model.py` holds loaded rules; `table.py` runs
them as ipt_do_table does; `log.py` and `trace_packet.py` write what the kernel writes to its log.
"""
