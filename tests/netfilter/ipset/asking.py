"""Sets made of ipset text, and packets to ask them with."""

from __future__ import annotations

from netemu.clock import NSEC_PER_SEC
from netemu.net import Net
from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.core import IpSets, ip_set_add, ip_set_del, ip_set_test
from netemu.netfilter.ipset.errcode import SetError
from netemu.netfilter.ipset.ip_set import AdtOptions
from netemu.netfilter.ipset.packet import Packet, Transport
from netemu.ruleset.ipset import print_sets, read_sets
from netemu.skb import Skb
from netemu.wire.packet_text import parse_packet


class Sets:
    """The sets of a namespace."""

    def __init__(self, text: str) -> None:
        self.net = Net()
        self.sets = self.net.generic(IpSets)
        self.read(text)

    def read(self, text: str) -> None:
        read_sets(text, "sets", self.sets)

    def wait(self, seconds: float) -> None:
        self.net.clock.run_until(self.net.clock.now_ns + round(seconds * NSEC_PER_SEC))

    def packet(self, text: str, *, iif: str = "eth0", oif: str = "") -> Packet:
        frame = parse_packet(text).frame(dst_mac=bytes.fromhex("020000000002"))
        skb = Skb(frame[14:], protocol=0x0800, fate=self.net.new_fate())
        skb.mac_header = frame[:14]

        def transport() -> Transport:
            data = skb.data
            later = bool((data[6] << 8 | data[7]) & 0x1FFF)
            return Transport(data[9], (data[0] & 15) * 4, later)

        return Packet(skb, Family.IPV4, iif, oif, transport)

    def options(self, directions: str, **more: object) -> AdtOptions:
        sources = tuple(word == "src" for word in directions.split(","))
        return AdtOptions(family=Family.IPV4, sources=sources, **more)  # type: ignore[arg-type]

    def test(self, name: str, directions: str, text: str, **more: object) -> bool:
        asked = self.sets.need(name)
        return ip_set_test(asked, self.packet(text), self.options(directions, **more))

    def add(self, name: str, directions: str, text: str, **more: object) -> str:
        """Add what a packet has; return why it could not be."""
        return self._change(ip_set_add, name, directions, text, more)

    def delete(self, name: str, directions: str, text: str) -> str:
        return self._change(ip_set_del, name, directions, text, {})

    def _change(self, act, name, directions, text, more) -> str:  # type: ignore[no-untyped-def]
        try:
            act(self.sets.need(name), self.packet(text), self.options(directions, **more))
        except SetError as error:
            return error.errno.name
        return ""

    def elements(self, name: str) -> list[str]:
        """Return what `ipset save` prints of the elements."""
        start = f"add {name} "
        return [
            line.removeprefix(start)
            for line in print_sets(self.sets).splitlines()
            if line.startswith(start)
        ]
