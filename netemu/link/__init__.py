"""Devices and the Ethernet layer: how a frame enters, crosses and leaves a namespace.

Kernel: net/core/dev.c, net/ethernet/eth.c, drivers/net/veth.c, drivers/net/loopback.c, net/bridge.

A frame enters at a device (`receive_frame`), is offered to the bridge that the device belongs to,
then to the handler of its ethertype. It leaves through `dev_queue_xmit`. A `Port` is a device whose
other end is outside of the node: what it sends is the node's output. Every device registers itself
in its namespace when it is made.

An 802.1Q tag is stripped into `skb.vlan_tci` as the kernel does it; a bridge carries it on, the IP
stack takes a frame tagged for a VLAN without a device as somebody else's.
"""
