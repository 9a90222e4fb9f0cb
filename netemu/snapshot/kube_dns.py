"""Cluster DNS as a program in a pod: it answers what the objects say at that moment."""

from __future__ import annotations

from netemu.ip.tcp_program import TcpProgram
from netemu.kube.cluster import Cluster
from netemu.kube.dns import NXDOMAIN, query
from netemu.sim.dns import TYPE_A, TYPE_CNAME, dns_message, question_of
from netemu.sim.programs import Dns

TYPES = {"A": TYPE_A, "CNAME": TYPE_CNAME}


class ClusterDns:
    """The server behind the kube-dns Service's pods."""

    def __init__(self, cluster: Cluster) -> None:
        """Answer from the objects of a cluster that lives."""
        self._cluster = cluster

    def accept(self) -> TcpProgram:
        """Return what takes the next TCP connection."""
        return Dns(self._answer)

    def answer(self, datagram: bytes, client: tuple[bytes, int]) -> bytes | None:
        """Return the answer to a query, None for what is none."""
        del client
        return self._answer(datagram)

    def _answer(self, datagram: bytes) -> bytes | None:
        name = question_of(datagram)
        if name is None:
            return None
        found = query(self._cluster, name, "A")
        if found.code == NXDOMAIN:
            return dns_message(datagram, None)
        records = [(TYPES[item.type], item.data) for item in found.records]
        return dns_message(datagram, records)
