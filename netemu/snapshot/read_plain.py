"""`sysctl -a`, `ss -Htuln`, `lsmod` and `ip netns list-id`: the files that are simple lines.

Tools: procps sysctl.c, iproute2 misc/ss.c and ip/ipnetns.c.
"""

from __future__ import annotations

import re

from netemu.netfilter.ipvs.ftp import MODULES
from netemu.sim.spec import SocketSpec
from netemu.snapshot.change import dotted, is_number, must_be_number
from netemu.snapshot.document import Document
from netemu.snapshot.records import NetnsRecord
from netemu.snapshot.values import address_of

_NSID_LINE = re.compile(r"^nsid (?P<id>\d+)(?: .*?\(iproute2 netns name: (?P<name>[^)]+)\))?")

LISTENING = {"tcp": "LISTEN", "udp": "UNCONN"}
"""State column of sockets that take packets from anybody."""


def read_sysctls(document: Document) -> dict[str, str]:
    """Return parameters by dotted name, dots within device names as slashes.

    A key that is printed in path form (`net/ipv4/conf/eth0.5/rp_filter`) is turned round.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(document.text.splitlines(), 1):
        key, separator, value = line.partition("=")
        if not separator:
            continue
        key, value = dotted(key.strip()), value.strip()
        if must_be_number(key) and not is_number(value):
            message = f"{key} is {value!r}, a whole number is needed"
            raise document.line_error(number, message, value)
        found[key] = value
    return found


def read_modules(document: Document) -> tuple[str, ...]:
    """Return those of `lsmod` that have to be loaded by hand and change what the node does."""
    loaded = {line.split()[0] for line in document.text.splitlines()[1:] if line.strip()}
    return tuple(module for module in MODULES if module in loaded)


def read_sockets(document: Document) -> list[SocketSpec]:
    """Return the listening TCP and UDP sockets in printed order."""
    found: list[SocketSpec] = []
    for number, line in enumerate(document.text.splitlines(), 1):
        words = line.split()
        if len(words) < 5 or LISTENING.get(words[0]) != words[1]:
            continue
        try:
            found += _sockets(words[0], words[4])
        except ValueError as error:
            raise document.line_error(number, str(error), words[4]) from None
    return found


def _sockets(protocol: str, local: str) -> list[SocketSpec]:
    host, _, port_text = local.rpartition(":")
    port = int(port_text)
    host, _, device = host.partition("%")
    bracketed, host = host.startswith("["), host.strip("[]")
    device = device.rstrip("]")
    if host == "*" and not bracketed:
        # An IPv6 socket without IPV6_V6ONLY: it takes IPv4 packets too.
        return [
            SocketSpec(protocol=protocol, address=any_address, port=port, device=device)
            for any_address in (bytes(4), bytes(16))
        ]
    return [SocketSpec(protocol=protocol, address=address_of(host), port=port, device=device)]


def read_netns_ids(document: Document) -> dict[int, str]:
    """Return names by local namespace id; ids without a name are left out."""
    if document.is_json:
        records = document.decode(list[NetnsRecord])
        return {record.nsid: record.name for record in records if record.name}
    matches = (_NSID_LINE.match(line) for line in document.text.splitlines())
    return {int(found["id"]): found["name"] for found in matches if found and found["name"]}
