"""IPv4 over Ethernet: ARP and neighbours, routing, input, forwarding, output, local sockets.

Kernel: net/ipv4, net/core/neighbour.c, net/bridge/br_netfilter_hooks.c.

    device --> ip_rcv --> PREROUTING --> route --> ip_local_deliver --> INPUT --> sockets
                                           |
                                           +-----> ip_forward --> FORWARD --+
    socket --> route --> OUTPUT ---------------------------------------> ip_output
                                                        POSTROUTING --> neigh_output --> device

This layer knows nothing of conntrack, NAT or tables: it runs the hooks, and they register there.
Also here is br_netfilter, which lets bridged IPv4 packets run through the same hooks.
"""
