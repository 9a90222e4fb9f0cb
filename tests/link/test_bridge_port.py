"""Port options and what a port lets through."""

from __future__ import annotations

import pytest

from netemu.errors import InputError
from netemu.link.bridge import Bridge
from netemu.link.bridge_port import (
    BridgePort,
    PortState,
    br_port_get,
    port_from_options,
    should_deliver,
)
from netemu.link.port import Port
from netemu.net import Net
from netemu.skb import Skb


def lab() -> tuple[Bridge, BridgePort, BridgePort, Skb]:
    net = Net()
    bridge = Bridge(net, name="br0", ifindex=2)
    one, two = (
        bridge.add_port(Port(net, name=f"p{n}", ifindex=n, mac=bytes((2, 0, 0, 0, 0, n))))
        for n in (3, 4)
    )
    skb = Skb(b"", protocol=0x88B5, fate=net.new_fate(), device=one.device)
    return bridge, one, two, skb


def test_options_are_those_of_ip_link() -> None:
    """Names of info_slave_data; what is left out has the kernel's default."""
    _, one, _, _ = lab()
    options = {"state": 2, "hairpin": 1, "learning": 0, "group_fwd_mask": 8, "cost": 2}
    port = port_from_options(one.device, options)
    assert (port.state, port.hairpin, port.learning) == (PortState.LEARNING, True, False)
    assert (port.flood, port.isolated, port.group_fwd_mask) == (True, False, 8)
    assert br_port_get(one.device) is one
    assert br_port_get(None) is None


@pytest.mark.parametrize("name", ["proxy_arp", "neigh_suppress", "vlan_tunnel", "mab"])
def test_what_is_not_emulated_is_refused(name: str) -> None:
    """Each with the port and the option in the sentence."""
    _, one, _, _ = lab()
    with pytest.raises(InputError, match=f"p3 has {name} on"):
        port_from_options(one.device, {name: 1})


def test_a_port_forwards_while_it_is_up() -> None:
    """Device, carrier and bridge must be up."""
    bridge, one, _, _ = lab()
    assert one.state == PortState.FORWARDING
    one.device.carrier = False
    assert one.state == PortState.DISABLED
    one.device.carrier = True
    bridge.up = False
    assert one.state == PortState.DISABLED


def test_should_deliver() -> None:
    """Not back, unless hairpin; not between isolated ports; not out of a blocked one."""
    _, one, two, skb = lab()
    assert (should_deliver(one, skb), should_deliver(two, skb)) == (False, True)
    one.hairpin = True
    assert should_deliver(one, skb)
    two.isolated = True
    assert should_deliver(two, skb)
    one.isolated = True
    assert not should_deliver(two, skb)
    one.configured_state = PortState.BLOCKING
    assert not should_deliver(one, skb)
