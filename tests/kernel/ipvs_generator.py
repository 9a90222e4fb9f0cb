"""Draws random cases for a node with IPVS: services, servers, rules, traffic, changes."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

from netemu.wire.address import parse_mac
from netemu.wire.packet_text import parse_packet
from tests.kernel.ipvs_guest.runner import checksum, ip_packet, sctp_segment
from tests.kernel.ipvs_rules import draw_rules

Step = dict[str, Any]

SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh")
"""All but twos, which draws."""

PODS = tuple(f"10.244.0.{10 * k + i}" for k in (1, 2) for i in (1, 2, 3))
NEAR = tuple(f"172.16.0.{i}" for i in range(2, 9))
FAR = ("203.0.113.5", "203.0.113.6")
OWN = ("10.244.0.1", "192.168.50.1")

TUNNELS = (
    "", "", "", " --tun-type gre", " --tun-type gre --tun-csum",
    *(f" --tun-type gue --tun-port 6080{check}" for check in ("", " --tun-csum", " --tun-remcsum")),
)  # fmt: skip

SETTLE_S = 0.04
"""Connections that are to end at once do so at the next tick, of which there are 100 a second."""

MOST_DIGITS = 2 * 1500
"""Of frames that may grow."""

SYN, ACK, FIN, RST, PSH = 2, 16, 1, 4, 8

TCP = 6


def frame_at(at: str, text: str) -> Step:
    """Return a step in which a packet enters at a port."""
    macs = {"client": ("50:01", "50:02"), "lan": ("60:01", "60:02")}
    to, source = macs.get(at, ("40:01", f"40:1{at[-1]}"))
    packet = parse_packet(text).frame(
        dst_mac=parse_mac(f"02:00:00:00:{to}"), src_mac=parse_mac(f"02:00:00:00:{source}")
    )
    return {"at": at, "hex": packet.hex()}


def cut_short(frame: bytes) -> bytes:
    """Return a packet that ends in its L4 header."""
    return _with_length(frame, 20 + 6)


def wrong_checksum(frame: bytes) -> bytes:
    """Return a packet whose L4 checksum is wrong."""
    at = 14 + 20 + (16 if frame[23] == TCP else 6)
    return frame[:at] + bytes((frame[at] ^ 0x5A, frame[at + 1])) + frame[at + 2 :]


def without_checksum(frame: bytes) -> bytes:
    """Return a datagram without checksum."""
    return frame if frame[23] == TCP else frame[:40] + bytes(2) + frame[42:]


def with_options(frame: bytes) -> bytes:
    """Return a packet with IP options that say nothing."""
    packet = bytearray(frame[14:34] + b"\x01\x01\x01\x00" + frame[34:])
    packet[0] = 0x46
    return _with_length(frame[:14] + bytes(packet), len(packet))


def padded(frame: bytes) -> bytes:
    """Return a frame with octets behind the packet."""
    return frame + b"\xaa" * 9


def _with_length(frame: bytes, length: int) -> bytes:
    packet = bytearray(frame[14 : 14 + length])
    header_len = (packet[0] & 15) * 4
    packet[2:4] = length.to_bytes(2, "big")
    packet[10:12] = bytes(2)
    packet[10:12] = checksum(bytes(packet[:header_len])).to_bytes(2, "big")
    return frame[:14] + bytes(packet)


DAMAGES = (cut_short, wrong_checksum, without_checksum, with_options, padded)


class Drawn:
    """One case being drawn."""

    def __init__(self, seed: int) -> None:
        """Draw case number `seed`."""
        self.dice = Random(seed)
        self.seed = seed
        self.services: list[dict[str, Any]] = []
        self.steps: list[Step] = []
        self.open: list[dict[str, Any]] = []
        self._heavy = self._limited = False
        self.case: dict[str, Any] = {
            "name": f"seed {seed}",
            "steps": self.steps,
            "saved": self._chance(0.2),
            "stats": self._chance(0.02),
        }

    def draw(self) -> dict[str, Any]:
        """Return the case."""
        dice = self.dice
        self._settings()
        for number in range(dice.choice((1, 1, 2, 3, 6))):
            self._service(number)
        self.case["ipvs"] = "".join(self._service_text(service) for service in self.services)
        draw_rules(dice, self.case, self.services)
        for _ in range(dice.randrange(12, 26)):
            dice.choices(
                (self._begin, self._go_on, self._again, self._change, self._local, self._error,
                 self._complain, self._stray, self._other, self._turn),
                (40, 30, 8, 9, 5, 5, 1, 2, 2, 1),
            )[0]()  # fmt: skip
        if dice.random() < 0.02:
            self.steps.append({"wait": 1.3})
        return self.case

    def _chance(self, probability: float) -> bool:
        return self.dice.random() < probability

    def _settings(self) -> None:
        sysctl = self.case["sysctl"] = {}
        vs = "net.ipv4.vs."
        sysctl[vs + "conntrack"] = int(self._chance(0.6))
        sysctl[vs + "conn_reuse_mode"] = self.dice.choice((0, 1, 1, 2, 3))
        for name, probability in (
            ("expire_nodest_conn", 0.4), ("expire_quiescent_template", 0.4),
            ("sloppy_tcp", 0.2), ("nat_icmp_send", 0.2), ("schedule_icmp", 0.2),
            ("cache_bypass", 0.05), ("sloppy_sctp", 0.1), ("ignore_tunneled", 0.1),
            ("backup_only", 0.02),
        ):  # fmt: skip
            sysctl[vs + name] = int(self._chance(probability))
        sysctl[vs + "snat_reroute"] = int(self._chance(0.8))
        sysctl[vs + "pmtu_disc"] = int(self._chance(0.85))
        sysctl[vs + "secure_tcp"] = 3 if self._chance(0.1) else 0
        if self._chance(0.3):
            self.case["timeouts"] = [self.dice.randrange(60, 2000) for _ in range(3)]

    def _service(self, number: int) -> None:
        dice = self.dice
        protocol = dice.choices(("tcp", "udp", "sctp"), (60, 30, 10))[0]
        persistent = self._chance(0.3)
        address = dice.choice([f"10.96.0.{i}" for i in range(10, 15)] + ["192.168.50.1"])
        service: dict[str, Any] = {
            "protocol": protocol,
            "address": address,
            "port": dice.choice((80, 443, 53, 21, 8080, 500)),
            "mark": 0,
            "marked": f"-p {protocol} ",
            "scheduler": dice.choice(SCHEDULERS),
            "options": "",
            "servers": [],
        }
        if any((s["protocol"], s["address"]) == (protocol, address) for s in self.services):
            service["port"] = 1000 + number
        elif persistent and self._chance(0.2) and address != "192.168.50.1":
            service["port"] = 0
        if self._chance(0.12):
            service["mark"] = (7 if self._chance(0.8) else 1 << 31) + number
            if self._chance(0.5):  # all that the address is asked belongs together
                service["marked"] = ""
        if persistent:
            mask = dice.choice(("", " -M 255.255.255.0", " -M 255.255.255.252"))
            service["options"] += f" -p {dice.choice((60, 300, 360, 10800))}{mask}"
        if protocol == "udp" and self._chance(0.2):
            service["options"] += " -o"
        if service["scheduler"] in {"sh", "mh"} and self._chance(0.6):
            name = service["scheduler"]
            flags = [f"{name}-fallback"] * self._chance(0.6) + [f"{name}-port"] * self._chance(0.6)
            if flags:
                service["options"] += f" -b {','.join(flags)}"
        self._heavy = self._chance(0.1)
        self._limited = self._chance(0.15)
        for _ in range(dice.choice((0, 1, 2, 2, 3, 3, 4, 5, 8))):
            self._server(service)
        self.services.append(service)

    def _server(self, service: dict[str, Any]) -> dict[str, Any] | None:
        dice = self.dice
        method = dice.choices("mgi", (80, 10, 10))[0]
        if method == "m":
            pool = dice.choices((PODS, NEAR, OWN), (85, 10, 5))[0]
        else:
            pool = NEAR if self._chance(0.8) else FAR
        address = dice.choice(pool)
        port = dice.choice((8080, 80, 0 if service["mark"] or not service["port"] else 8443))
        if method != "m":
            port = service["port"]
        if any((s["address"], s["port"]) == (address, port) for s in service["servers"]):
            return None
        tunnel = ""
        if method == "i":
            tunnel = self.dice.choice(TUNNELS)
        server = {
            "tunnel": tunnel,
            "address": address,
            "port": port,
            "method": method,
            "weight": dice.choice((1, 1, 1, 2, 3, 4, 5, 10, 0, 100)),
            "limits": "",
        }
        if self._heavy:
            server["weight"] = dice.choice((0, 1, 60, 100, 1000, 1500, 65535))
        if self._chance(0.8 if self._limited else 0.1):
            upper = dice.randrange(1, 5)
            server["limits"] = f" -x {upper}" + (
                f" -y {dice.randrange(1, upper + 1)}" if self._chance(0.5) else ""
            )
        service["servers"].append(server)
        return server

    def _name(self, service: dict[str, Any]) -> str:
        if service["mark"]:
            return f"-f {service['mark']}"
        option = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}[service["protocol"]]
        return f"{option} {service['address']}:{service['port']}"

    def _server_text(self, do: str, service: dict[str, Any], server: dict[str, Any]) -> str:
        return (
            f"-{do} {self._name(service)} -r {server['address']}:{server['port']} "
            f"-{server['method']} -w {server['weight']}{server['limits']}{server['tunnel']}\n"
        )

    def _service_text(self, service: dict[str, Any]) -> str:
        text = f"-A {self._name(service)} -s {service['scheduler']}{service['options']}\n"
        return text + "".join(self._server_text("a", service, s) for s in service["servers"])

    # Traffic.

    def _target(self, service: dict[str, Any]) -> tuple[str, int]:
        port = service["port"]
        if not port or (service["mark"] and self._chance(0.4)):
            port = self.dice.choice((1234, 5555, 80))
        if service["port"] == 21 and self._chance(0.3):
            port = self.dice.choice((20, 3333))
        elif self._chance(0.03):
            port += 1
        return service["address"], port

    def _client(self) -> tuple[str, str]:
        """Return a client's address and the port that it is behind."""
        if self._chance(0.15):
            address = self.dice.choice(PODS[:3])
            return address, f"pod{address[-1]}"
        if self._chance(0.06):
            return self.dice.choice(NEAR[-2:]), "lan"
        if self._chance(0.1):
            return f"198.51.100.{self.dice.randrange(1, 5)}", "client"
        return f"192.168.50.{self.dice.randrange(2, 12)}", "client"

    def _send(self, connection: dict[str, Any], **more: Any) -> int:
        """Let the client of a connection send; return the number of the step."""
        ends = f"{connection['client']}:{connection['sport']} > {connection['to']}:{connection['dport']}"
        ttl = f"ttl={self.dice.choice((1, 2, 64))} " if self._chance(0.05) else ""
        tos = f"tos={self.dice.choice((2, 3, 0x10, 0xB8))} " if self._chance(0.1) else ""
        if connection["protocol"] == "tcp":
            letters = "".join(
                letter for bit, letter in ((2, "S"), (1, "F"), (4, "R"), (8, "P"), (16, "A"))
                if more["flags"] & bit
            ) or "none"  # fmt: skip
            data = f" payload={more['data']}" if more.get("data") else ""
            text = f"tcp {ends} {letters} seq={more['seq']} ack={more['ack']} {ttl}{tos}"
            if data and self._chance(0.1):
                return self._send_fragments(connection, text)
            text += data
        elif connection["protocol"] == "udp":
            df = self.dice.choice(("", "", "df=0 "))
            size = self.dice.choice((1100, 1452, 1460, 1472)) if self._chance(0.08) else 0
            text = f"udp {ends} {ttl}{tos}{df}payload={'q' * (size or self.dice.randrange(1, 30))}"
            if self._chance(0.06):
                return self._send_fragments(connection, f"udp {ends} {ttl}{tos}")
        else:
            return self._send_sctp(connection, more.get("chunk", 1))
        step = frame_at(connection["at"], text)
        if self._chance(0.02) and len(step["hex"]) < MOST_DIGITS:
            step["hex"] = self.dice.choice(DAMAGES)(bytes.fromhex(step["hex"])).hex()
        self.steps.append(step)
        return len(self.steps) - 1

    def _send_fragments(self, connection: dict[str, Any], text: str) -> int:
        """Send a packet in parts, most often in order."""
        dice = self.dice
        df = self._chance(0.2)
        size = dice.choice((16, 64, 200, 1000, 1472, 1600, 2800, 4400))
        text += f" df={int(df)} id={dice.randrange(1, 1 << 16)} payload={'f' * size}"
        packet = parse_packet(text).network
        octets = len(packet) - 20
        # A drawn port is only seen beside the checksum that it changes.
        least = 24 if connection["protocol"] == "tcp" else 8
        if self._chance(0.5):
            cuts = set(range(0, octets, dice.choice((8, 24, 176, 512, 1376, 1480))))
            cuts = set(sorted(cuts)[:12])
        else:
            cuts = {dice.randrange(octets // 8 + 1) * 8 for _ in range(dice.randrange(1, 4))}
        cuts = {cut for cut in cuts if cut >= least}
        steps = fragments(connection["at"], packet, cuts, df=df)
        if self._chance(0.3):
            dice.shuffle(steps)
        self.steps += steps
        return len(self.steps) - 1

    def _send_sctp(self, connection: dict[str, Any], chunk: int) -> int:
        ports = connection["sport"].to_bytes(2, "big") + connection["dport"].to_bytes(2, "big")
        src, dst = (bytes(map(int, connection[end].split("."))) for end in ("client", "to"))
        step = frame_at(connection["at"], "udp 1.1.1.1:1 > 1.1.1.1:1")
        packet = ip_packet(src, dst, 132, sctp_segment(ports, chunk))
        self.steps.append({"at": step["at"], "hex": step["hex"][:28] + packet.hex()})
        return len(self.steps) - 1

    def _begin(self) -> None:
        """Open a connection, or send a first datagram."""
        service = self.dice.choice(self.services)
        address, at = self._client()
        to, port = self._target(service)
        protocol = service["protocol"]
        if service["mark"] and not service["marked"]:
            protocol = self.dice.choice(("tcp", "udp"))
        connection = {
            "protocol": protocol, "client": address, "at": at,
            "sport": self.dice.choice((20, 40000 + self.dice.randrange(2000)))
            if self._chance(0.03) else 40000 + self.dice.randrange(2000),
            "to": to, "dport": port, "seq": 1001, "ack": 0, "service": service,
        }  # fmt: skip
        flags = SYN if self._chance(0.93) else self.dice.choice((ACK, SYN | ACK, RST, FIN | ACK, 0))
        connection["step"] = self._send(connection, flags=flags, seq=1000, ack=0)
        if any(self._ends(one) == self._ends(connection) for one in self.open):
            self.steps[-1]["settle"] = SETTLE_S
        self.open.append(connection)
        if self._chance(0.5):
            self._answer(connection, SYN | ACK)

    def _ends(self, connection: dict[str, Any]) -> tuple[Any, ...]:
        return connection["client"], connection["sport"], connection["to"], connection["dport"]

    def _answer(self, connection: dict[str, Any], flags: int) -> None:
        step = {"answer": connection["step"], "flags": flags, "data": ""}
        if flags & SYN:
            step.update(seq=5000, ack=connection["seq"])
            connection["ack"] = 5001
        else:
            step.update(seq=connection["ack"] or 5001, ack=connection["seq"])
            connection["ack"] = (connection["ack"] or 5001) + bool(flags & FIN)
        if connection["protocol"] == "udp":
            step["data"] = "6162"
        step["chunk"] = self.dice.choice((2, 11, 0, 3, 8, 6, 7, 14))
        self.steps.append(step)
        connection["answered"] = len(self.steps) - 1

    def _go_on(self) -> None:
        """Continue a connection: data, FIN or RST from either side."""
        if not self.open:
            return
        connection = self.dice.choice(self.open[-6:])
        if connection["protocol"] == "sctp":
            chunk = self.dice.choice((1, 10, 11, 0, 3, 7, 8, 14, 6))
            connection["step"] = self._send(connection, chunk=chunk)
            if chunk == 1:  # an INIT may end a connection that is closed
                self.steps[-1]["settle"] = SETTLE_S
            return
        if self._chance(0.4):
            self._answer(connection, self.dice.choice((SYN | ACK, ACK, FIN | ACK, RST | ACK, ACK)))
            return
        flags = self.dice.choice((ACK, ACK | PSH, FIN | ACK, RST, ACK))
        data = "hello" if flags & PSH else ""
        number = self._send(
            connection, flags=flags, seq=connection["seq"], ack=connection["ack"], data=data
        )
        connection["seq"] += len(data) + bool(flags & FIN)
        connection["step"] = number

    def _again(self) -> None:
        """Open a connection from the same port once more."""
        if not self.open:
            return
        connection = self.dice.choice(self.open)
        connection["step"] = self._send(connection, flags=SYN, seq=90000, ack=0)
        self.steps[-1]["settle"] = SETTLE_S
        connection["seq"], connection["ack"] = 90001, 0
        if self._chance(0.3):
            self._answer(connection, SYN | ACK)

    def _local(self) -> None:
        """Let the node itself send to a service."""
        service = self.dice.choice(self.services)
        to, port = self._target(service)
        source = self.dice.choice(("192.168.50.1", "10.244.0.1", to))
        ends = f"{source}:{50000 + self.dice.randrange(500)} > {to}:{port}"
        kind = {"tcp": f"tcp {ends} S seq=1000", "udp": f"udp {ends} payload=x"}
        if service["protocol"] not in kind:
            return
        packet = parse_packet(kind[service["protocol"]]).network
        self.steps.append({"local": packet.hex()})
        if self._chance(0.5):
            sent = {"protocol": service["protocol"], "step": len(self.steps) - 1, "seq": 1001,
                    "ack": 0}  # fmt: skip
            self._answer(sent, SYN | ACK)

    def _error(self) -> None:
        """Let the other end, or a router, complain."""
        if not self.open:
            return
        connection = self.dice.choice(self.open)
        number = connection["step"]
        if "answered" in connection and self._chance(0.5):
            number = connection["answered"]
        kind, code = self.dice.choice(
            ((3, 3), (3, 1), (11, 0), (3, 4), (4, 0), (12, 0), (3, 13), (11, 1), (5, 1))
        )
        step = {"error": number, "type": kind, "code": code,
                "quote": self.dice.choice((20, 24, 28, 28, 40, 40, 60, 100))}  # fmt: skip
        if code == 4:
            step["info"] = self.dice.choice((1400, 1000, 576, 0, 1480))
        if self._chance(0.3):
            step["src"] = self.dice.choice(("172.16.0.9", "192.168.50.254", "203.0.113.77"))
        if self._chance(0.06):
            step["broken"] = 1
        self.steps.append(step)

    def _complain(self) -> None:
        """Let a client complain about an answer, which a direct server may have sent unseen."""
        if not self.open:
            return
        connection = self.dice.choice(self.open)
        numbers = {"tcp": 6, "udp": 17, "sctp": 132}
        protocol = numbers[connection["protocol"]]
        src, dst = (bytes(map(int, connection[end].split("."))) for end in ("client", "to"))
        ports = connection["dport"].to_bytes(2, "big") + connection["sport"].to_bytes(2, "big")
        quoted = ip_packet(dst, src, protocol, ports + bytes(36))
        quoted = quoted[: self.dice.choice((24, 27, 28, 40, 56))]
        kind = self.dice.choice((b"\x03\x03", b"\x03\x01", b"\x0b\x01", b"\x0c\x00"))
        body = kind + bytes(6) + quoted
        check = checksum(body) ^ (0x101 if self._chance(0.2) else 0)
        packet = ip_packet(dst=dst, src=src, protocol=1,
                           segment=kind + check.to_bytes(2, "big") + body[4:])  # fmt: skip
        head = frame_at(connection["at"], "udp 1.1.1.1:1 > 1.1.1.1:1")["hex"][:28]
        self.steps.append({"at": connection["at"], "hex": head + packet.hex()})

    def _stray(self) -> None:
        """Let a server send what nobody asked for."""
        source = self.dice.choice(PODS)
        ends = f"{source}:{self.dice.choice((80, 8080, 8443))} > 192.168.50.9:4444"
        text = self.dice.choice((f"tcp {ends} SA", f"udp {ends}", f"tcp {ends} R"))
        self.steps.append(frame_at(f"pod{source[-1]}", text))

    def _other(self) -> None:
        """Send what IPVS does not balance, or only beside something else."""
        service = self.dice.choice(self.services)
        address, at = self._client()
        to = service["address"]
        kind = self.dice.choice(("ping", "ping", "esp", "ah", "gre", "timestamp"))
        if kind == "ping":
            self.steps.append(frame_at(at, f"icmp {address} > {to} echo id=5 seq=1"))
            return
        number, body = {
            "esp": (50, bytes(16)), "ah": (51, bytes(24)), "gre": (47, bytes(12)),
            "timestamp": (1, b"\x0d\x00" + checksum(b"\x0d\x00" + bytes(18)).to_bytes(2, "big")
                          + bytes(16)),
        }[kind]  # fmt: skip
        head = frame_at(at, "udp 1.1.1.1:1 > 1.1.1.1:1")["hex"][:28]
        src, dst = (bytes(map(int, end.split("."))) for end in (address, to))
        self.steps.append({"at": at, "hex": head + ip_packet(src, dst, number, body).hex()})

    # Changes.

    def _turn(self) -> None:
        """Turn a knob of /proc/sys/net/ipv4/vs."""
        name, values = self.dice.choice((
            ("conntrack", (0, 1)), ("conn_reuse_mode", (0, 1, 2)), ("expire_nodest_conn", (0, 1)),
            ("expire_quiescent_template", (0, 1)), ("sloppy_tcp", (0, 1)),
            ("snat_reroute", (0, 1)), ("nat_icmp_send", (0, 1)), ("schedule_icmp", (0, 1)),
            ("secure_tcp", (0, 3)), ("cache_bypass", (0, 1)), ("pmtu_disc", (0, 1)),
        ))  # fmt: skip
        value = self.dice.choice(values)
        self.steps.append({"sysctl": {f"net.ipv4.vs.{name}": value}})

    def _change(self) -> None:
        """Change a service or a server while connections live."""
        service = self.dice.choice(self.services)
        change = self.dice.choice(
            (
                "weight",
                "weight",
                "add",
                "delete",
                "back",
                "edit",
                "limits",
                "method",
                "renew",
                "timeouts",
            )
        )
        text = ""
        servers = service["servers"]
        if change in {"weight", "limits"} and servers:
            server = self.dice.choice(servers)
            if change == "weight":
                server["weight"] = self.dice.choice((0, 0, 1, 2, 5))
            else:
                server["limits"] = self.dice.choice(("", " -x 1", " -x 3 -y 1", " -x 2"))
            text = self._server_text("e", service, server)
        elif change == "add":
            made = self._server(service)
            text = self._server_text("a", service, made) if made else ""
        elif change == "delete" and servers:
            server = servers.pop(self.dice.randrange(len(servers)))
            service.setdefault("gone", []).append(server)
            text = f"-d {self._name(service)} -r {server['address']}:{server['port']}\n"
        elif change == "back" and service.get("gone"):
            server = service["gone"].pop()
            if not any(
                (s["address"], s["port"]) == (server["address"], server["port"]) for s in servers
            ):
                servers.append(server)
                text = self._server_text("a", service, server)
        elif change == "edit":
            if self._chance(0.7):
                service["scheduler"] = self.dice.choice(SCHEDULERS)
            options = service["options"].partition(" -b ")[0]
            if self._chance(0.3) and service["port"]:
                options = self.dice.choice(("", " -p 90", " -p 360 -M 255.255.255.0"))
            service["options"] = options
            text = f"-E {self._name(service)} -s {service['scheduler']}{options}\n"
        elif change == "method" and servers and not service["mark"] and service["port"]:
            server = self.dice.choice(servers)
            if server["port"] == service["port"]:
                server["method"] = self.dice.choice("mgi")
                server["tunnel"] = ""
                text = self._server_text("e", service, server)
        elif change == "renew":
            # Counters that were estimated by then begin anew, and when that was is chance.
            self.case["stats"] = False
            self.steps.append({"ipvs": f"-D {self._name(service)}\n", "settle": SETTLE_S})
            if self._chance(0.3):
                self._begin()
            text = self._service_text(service)
        elif change == "timeouts":
            text = f"--set {' '.join(str(self.dice.choice((0, 60, 700))) for _ in range(3))}\n"
        if text:
            self.steps.append({"ipvs": text, "settle": SETTLE_S})


def fragments(at: str, packet: bytes, cuts: set[int], *, df: bool = False) -> list[Step]:
    """Return steps in which a packet enters in parts, cut at offsets of its payload."""
    body = packet[20:]
    places = {cut for cut in cuts if 0 < cut < len(body)}
    places |= set(range(1480, len(body), 1480))
    edges = [0, *sorted(places), len(body)]
    head = frame_at(at, "udp 1.1.1.1:1 > 1.1.1.1:1")["hex"][:28]
    parts = [
        fragment_of(packet, body[start:end], start, more=end < len(body), df=df)
        for start, end in pairwise(edges)
    ]
    return [{"at": at, "hex": head + part.hex()} for part in parts]


def fragment_of(packet: bytes, part: bytes, offset: int, *, more: bool, df: bool) -> bytes:
    """Return a fragment of a packet."""
    header = bytearray(packet[:20])
    header[2:4] = (20 + len(part)).to_bytes(2, "big")
    word = offset // 8 | (0x2000 if more else 0) | (0x4000 if df else 0)
    header[6:8] = word.to_bytes(2, "big")
    header[10:12] = bytes(2)
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + part


def draw_case(seed: int) -> dict[str, Any]:
    """Return case number `seed`."""
    return Drawn(seed).draw()
