"""IPVS: virtual servers inside of the kernel, the way kube-proxy's ipvs mode carries ClusterIPs.

Kernel: net/netfilter/ipvs/.

A packet for a virtual server reaches the node's INPUT hook (its address sits on a device, such as
kube-ipvs0) or leaves a program by OUTPUT. `core.py` looks for its connection there; without one
`schedule.py` finds the virtual server and asks its scheduler for a real one, and `xmit.py` sends
the packet to it: rewritten (masq), as it is to another MAC (DR), or inside another IP packet (TUN).
It passes OUTPUT and POSTROUTING then, so that a packet of the node itself sees OUTPUT twice.
Answers of a masqueraded server are found at FORWARD and get the virtual address back.

`service.py` holds virtual and real servers, `control.py` changes them, `connection.py` is the
connection table, `tcp.py udp.py sctp.py ah_esp.py` have states and checksums of their protocols,
`schedulers/` one file per scheduler, `ftp.py` reads FTP's dialogue where the kernel's module
ip_vs_ftp is loaded, `text.py` prints what ipvsadm does.

All figures are those of Linux 6.1 (asked of 6.1.176), in every kernel profile.

Connections expire at their very jiffy. The kernel's timers fire up to an eighth of a long timeout
late, by an amount that hangs on how long the machine has been running.
"""
