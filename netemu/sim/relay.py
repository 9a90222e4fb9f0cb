"""kube-proxy's userspace mode: a process that takes connections and opens its own to endpoints.

Source: pkg/proxy/userspace/proxysocket.go, roundrobin.go (Kubernetes 1.20).

Theory of operation: endpoints stand in a shuffled order and are taken one after the other. A
client with affinity stays with its endpoint. An endpoint that does not answer within 250 ms is
given up for the next one, which gets 500 ms, then 1 s, then 2 s; after four the client's connection
is closed. Each client of UDP has a socket of the proxy's own, until it is silent for 250 ms.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from netemu.clock import NSEC_PER_SEC, Timer
from netemu.ip.datagram import Waiters, udp_sendmsg
from netemu.ip.sockets import Sockets
from netemu.ip.tcp_connect import tcp_connect
from netemu.ip.tcp_program import Connection, TcpProgram
from netemu.net import Net
from netemu.wire.ipv4 import IPPROTO_UDP

DIAL_TIMEOUTS_S = (0.25, 0.5, 1.0, 2.0)
"""endpointDialTimeouts."""

UDP_IDLE_TIMEOUT_S = 0.25
"""--udp-timeout: a client of UDP that is silent for so long gets a new socket and endpoint."""

Endpoint = tuple[bytes, int]


class Balancer(Struct):
    """Round robin over the endpoints of one Service port (LoadBalancerRR)."""

    net: Net
    affinity_s: int = 0
    endpoints: list[Endpoint] = field(default_factory=list)
    _next: int = 0
    _clients: dict[bytes, tuple[Endpoint, int]] = field(default_factory=dict)

    def set_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        """Take a new list: it is shuffled, and clients of endpoints that are gone are forgotten."""
        if set(endpoints) == set(self.endpoints):
            return
        self.endpoints = list(endpoints)
        random = self.net.entropy.stream("kube-proxy")
        for last in range(len(self.endpoints) - 1, 0, -1):
            other = random.below(last + 1)
            items = self.endpoints
            items[last], items[other] = items[other], items[last]
        self._next = 0
        kept = self._clients.items()
        self._clients = {who: entry for who, entry in kept if entry[0] in self.endpoints}

    def pick(self, client: bytes, *, reset_affinity: bool) -> Endpoint | None:
        """Return the endpoint for a client; None when there is none (NextEndpoint)."""
        if not self.endpoints:
            return None
        now_ns = self.net.clock.now_ns
        known = self._clients.get(client)
        age_ns = now_ns - known[1] if known is not None else 0
        sticks = self.affinity_s and age_ns < self.affinity_s * NSEC_PER_SEC
        if known is not None and sticks and not reset_affinity:
            self._clients[client] = (known[0], now_ns)
            return known[0]
        found = self.endpoints[self._next % len(self.endpoints)]
        self._next = (self._next + 1) % len(self.endpoints)
        if self.affinity_s:
            self._clients[client] = (found, now_ns)
        return found


class ProxyListener:
    """The proxy's listening socket of one Service port."""

    def __init__(self, net: Net, balancer: Balancer, port: int) -> None:
        """Serve connections of a namespace at a port."""
        self.net = net
        self.balancer = balancer
        self.port = port
        self.clients: dict[Endpoint, _Datagrams] = {}
        """The socket that speaks for a client of UDP (clientCache)."""

    def accept(self) -> TcpProgram:
        """Return what serves the next connection."""
        return _Inbound(self.net, self.balancer)

    def answer(self, datagram: bytes, client: Endpoint) -> bytes | None:
        """Hand a datagram on; what comes back is sent later."""
        speaker = self.clients.get(client)
        if speaker is None:
            endpoint = self.balancer.pick(client[0], reset_affinity=False)
            if endpoint is None:
                return None
            speaker = self.clients[client] = _Datagrams(self, client, endpoint)
        speaker.hand_on(datagram)
        return None


class _Datagrams:
    """A socket of the proxy's own, connected to an endpoint, for one client of UDP."""

    def __init__(self, listener: ProxyListener, client: Endpoint, endpoint: Endpoint) -> None:
        self.listener = listener
        self.client = client
        self.peer: Endpoint | None = endpoint
        self.endpoint = endpoint
        self.timer: Timer | None = None
        net = listener.net
        self.port = net.generic(Sockets).ephemeral_port(net, IPPROTO_UDP)
        net.generic(Waiters).add(IPPROTO_UDP, self.port, self)

    def hand_on(self, datagram: bytes) -> None:
        """Send a client's datagram to the endpoint."""
        self._stay()
        address, port = self.endpoint
        udp_sendmsg(self.listener.net, datagram, remote=address, port=port, local_port=self.port)

    def answered(self, source: bytes, port_or_seq: int, payload: bytes) -> None:
        """Send the endpoint's datagram to the client."""
        del source, port_or_seq
        self._stay()
        address, port = self.client
        udp_sendmsg(
            self.listener.net,
            payload,
            remote=address,
            port=port,
            local_port=self.listener.port,
        )

    def failed(self, errno: str) -> None:
        """End at an ICMP error: reading fails, and the client gets a new socket next time."""
        del errno
        self._close()

    def _stay(self) -> None:
        """Go on for another while (SetDeadline)."""
        if self.timer is not None:
            self.timer.cancel()
        idle_ns = round(UDP_IDLE_TIMEOUT_S * NSEC_PER_SEC)
        self.timer = self.listener.net.clock.call_later(idle_ns, self._close)

    def _close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.listener.clients.get(self.client) is self:
            del self.listener.clients[self.client]
            net = self.listener.net
            net.generic(Waiters).remove(IPPROTO_UDP, self.port)
            net.generic(Sockets).release_port(IPPROTO_UDP, self.port)


class _Inbound:
    """The client's connection."""

    def __init__(self, net: Net, balancer: Balancer) -> None:
        self.net = net
        self.balancer = balancer
        self.client: Connection | None = None
        self.outbound: _Outbound | None = None
        self.waiting = bytearray()
        self.ended = False
        self.tried = 0

    def opened(self, connection: Connection) -> None:
        """Dial an endpoint."""
        self.client = connection
        self.dial()

    def dial(self) -> None:
        """Dial the next endpoint, or give up (TryConnectEndpoints)."""
        assert self.client is not None
        endpoint = None
        if self.tried < len(DIAL_TIMEOUTS_S):
            reset = self.tried > 0
            endpoint = self.balancer.pick(self.client.peer[0], reset_affinity=reset)
        if endpoint is None:
            self.outbound = None
            self.client.close()
            return
        timeout_s = DIAL_TIMEOUTS_S[self.tried]
        self.tried += 1
        self.outbound = _Outbound(self, timeout_s)
        self.outbound.dial(endpoint)

    def received(self, connection: Connection, data: bytes) -> None:
        """Hand the request on."""
        self.waiting += data
        self.flush()

    def flush(self) -> None:
        """Send what waits, once the endpoint has answered."""
        outbound = self.outbound
        if outbound is None or not outbound.connected or outbound.connection is None:
            return
        if self.waiting:
            outbound.connection.send(bytes(self.waiting))
            self.waiting.clear()
        if self.ended:
            outbound.connection.close()

    def finished(self, connection: Connection) -> None:
        """Close the other side, too."""
        self.ended = True
        self.flush()

    def failed(self, connection: Connection, why: str) -> None:
        """Drop the other side."""
        if self.outbound is not None and self.outbound.connection is not None:
            self.outbound.connection.abort()


class _Outbound:
    """The proxy's own connection to an endpoint."""

    def __init__(self, inbound: _Inbound, timeout_s: float) -> None:
        self.inbound = inbound
        self.connection: Connection | None = None
        self.connected = False
        self.given_up = False
        self._timeout_ns = round(timeout_s * NSEC_PER_SEC)
        self._timer: Timer | None = None

    def dial(self, endpoint: Endpoint) -> None:
        """Open the connection."""
        net = self.inbound.net
        self._timer = net.clock.call_later(self._timeout_ns, self._give_up)
        opened = tcp_connect(net, self, *endpoint)
        if isinstance(opened, str):
            self._give_up()
        else:
            self.connection = opened

    def opened(self, connection: Connection) -> None:
        """Hand on what the client has sent meanwhile."""
        self.connected = True
        self.connection = connection
        self._stop()
        self.inbound.flush()

    def received(self, connection: Connection, data: bytes) -> None:
        """Hand the answer back."""
        if self.inbound.client is not None:
            self.inbound.client.send(data)

    def finished(self, connection: Connection) -> None:
        """Close the client's side, too."""
        if self.inbound.client is not None:
            self.inbound.client.close()

    def failed(self, connection: Connection, why: str) -> None:
        """Try the next endpoint, if this one has not answered yet."""
        if self.connected:
            if self.inbound.client is not None:
                self.inbound.client.abort()
        else:
            self._give_up()

    def _give_up(self) -> None:
        if not self.given_up and not self.connected:
            self.given_up = True
            self._stop()
            if self.connection is not None:
                self.connection.close()
            self.inbound.dial()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
