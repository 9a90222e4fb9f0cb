"""Draws random cases for a node with IPVS: services, servers, rules, traffic, changes."""

from __future__ import annotations

from random import Random
from typing import Any

from netemu.wire.address import parse_mac
from netemu.wire.packet_text import parse_packet
from tests.kernel.ipvs_guest.runner import checksum, ip_packet, sctp_segment

Step = dict[str, Any]

SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh")
"""All but twos, which draws."""

PODS = tuple(f"10.244.0.{10 * k + i}" for k in (1, 2) for i in (1, 2, 3))
NEAR = tuple(f"172.16.0.{i}" for i in range(2, 9))
FAR = ("203.0.113.5", "203.0.113.6")
OWN = ("10.244.0.1", "192.168.50.1")

SETTLE_S = 0.04
"""Connections that are to end at once do so at the next tick, of which there are 100 a second."""

SYN, ACK, FIN, RST, PSH = 2, 16, 1, 4, 8


def frame_at(at: str, text: str) -> Step:
    """Return a step in which a packet enters at a port."""
    macs = {"client": ("50:01", "50:02"), "lan": ("60:01", "60:02")}
    to, source = macs.get(at, ("40:01", f"40:1{at[-1]}"))
    packet = parse_packet(text).frame(
        dst_mac=parse_mac(f"02:00:00:00:{to}"), src_mac=parse_mac(f"02:00:00:00:{source}")
    )
    return {"at": at, "hex": packet.hex()}


class Drawn:
    """One case being drawn."""

    def __init__(self, seed: int) -> None:
        """Draw case number `seed`."""
        self.dice = Random(seed)
        self.seed = seed
        self.services: list[dict[str, Any]] = []
        self.steps: list[Step] = []
        self.open: list[dict[str, Any]] = []
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
        for number in range(dice.choice((1, 1, 2, 3))):
            self._service(number)
        self.case["ipvs"] = "".join(self._service_text(service) for service in self.services)
        self._rules()
        for _ in range(dice.randrange(12, 26)):
            dice.choices(
                (self._begin, self._go_on, self._again, self._change, self._local, self._error,
                 self._stray),
                (40, 30, 8, 9, 5, 4, 2),
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
        sysctl[vs + "conn_reuse_mode"] = self.dice.choice((0, 1, 1, 2))
        for name, probability in (
            ("expire_nodest_conn", 0.4), ("expire_quiescent_template", 0.4),
            ("sloppy_tcp", 0.2), ("nat_icmp_send", 0.2), ("schedule_icmp", 0.2),
            ("cache_bypass", 0.05),
        ):  # fmt: skip
            sysctl[vs + name] = int(self._chance(probability))
        sysctl[vs + "snat_reroute"] = int(self._chance(0.8))
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
            "port": dice.choice((80, 443, 53, 21, 8080)),
            "mark": 0,
            "scheduler": dice.choice(SCHEDULERS),
            "options": "",
            "servers": [],
        }
        if any((s["protocol"], s["address"]) == (protocol, address) for s in self.services):
            service["port"] = 1000 + number
        if persistent and self._chance(0.2) and address != "192.168.50.1":
            service["port"] = 0
        if self._chance(0.12):
            service["mark"] = 7 + number
        if persistent:
            mask = dice.choice(("", " -M 255.255.255.0", " -M 255.255.255.252"))
            service["options"] += f" -p {dice.choice((60, 300, 10800))}{mask}"
        if protocol == "udp" and self._chance(0.2):
            service["options"] += " -o"
        if service["scheduler"] in {"sh", "mh"} and self._chance(0.6):
            name = service["scheduler"]
            flags = [f"{name}-fallback"] * self._chance(0.6) + [f"{name}-port"] * self._chance(0.6)
            if flags:
                service["options"] += f" -b {','.join(flags)}"
        for _ in range(dice.choice((0, 1, 2, 2, 3, 3, 4, 5))):
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
            tunnel = self.dice.choice(("", "", " --tun-type gre", " --tun-type gre --tun-csum"))
        server = {
            "tunnel": tunnel,
            "address": address,
            "port": port,
            "method": method,
            "weight": dice.choice((1, 1, 1, 2, 3, 4, 5, 10, 0, 100)),
            "limits": "",
        }
        if self._chance(0.15):
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

    def _rules(self) -> None:
        """Draw what a node's rules do around IPVS."""
        dice = self.dice
        mangle = [
            f"-A PREROUTING -d {s['address']}/32 -p {s['protocol']} -j MARK --set-mark {s['mark']}"
            for s in self.services if s["mark"]
        ]  # fmt: skip
        mangle += [rule.replace("PREROUTING", "OUTPUT") for rule in mangle]
        kind = dice.choice(("none", "masquerade", "kube", "state", "ipvs", "notrack"))
        nat: list[str] = []
        rules: list[str] = []
        raw: list[str] = []
        if kind == "masquerade":
            nat.append("-A POSTROUTING -d 10.244.0.0/24 -j MASQUERADE")
        elif kind == "kube":
            nat += [
                ":KUBE-SERVICES - [0:0]", ":KUBE-MARK-MASQ - [0:0]", ":KUBE-POSTROUTING - [0:0]",
                "-A PREROUTING -j KUBE-SERVICES", "-A OUTPUT -j KUBE-SERVICES",
                "-A POSTROUTING -j KUBE-POSTROUTING",
                "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
                f"-A KUBE-SERVICES ! -s 10.244.0.0/24 -d 10.96.0.0/{dice.choice((24, 28))} "
                "-j KUBE-MARK-MASQ",
                "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j ACCEPT",
                "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
                "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
                "-A KUBE-POSTROUTING -j MASQUERADE",
            ]  # fmt: skip
        elif kind == "state":
            rules += [
                "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                "-A FORWARD -m conntrack --ctstate INVALID",
                "-A OUTPUT -m conntrack --ctstate NEW", "-A INPUT -m conntrack --ctstate NEW",
            ]  # fmt: skip
        elif kind == "ipvs":
            nat += [
                "-A POSTROUTING -m ipvs --vaddr 10.96.0.0/28 --vdir ORIGINAL -j MASQUERADE",
                "-A POSTROUTING -m ipvs --ipvs",
            ]
            rules += [
                f"-A FORWARD -m ipvs {test}"
                for test in ("--ipvs", "! --ipvs", "--vproto tcp", "--vmethod MASQ",
                             "! --vport 80 --vdir REPLY")
            ]  # fmt: skip
            rules += [
                f"-A OUTPUT -m ipvs {test}"
                for test in ("--ipvs", "! --ipvs", "--vproto tcp", "! --vmethod MASQ",
                             "--vport 80 --vdir ORIGINAL", "--vportctl 21")
            ]  # fmt: skip
        elif kind == "notrack":
            raw.append("-A PREROUTING -d 10.96.0.10/32 -j CT --notrack")
            nat.append("-A POSTROUTING -j MASQUERADE")
        if self._chance(0.3):
            self.case["trace"] = True
            raw += ["-A PREROUTING -j TRACE", "-A OUTPUT -j TRACE"]
        tables = {
            "raw": (raw, "PREROUTING OUTPUT"),
            "mangle": (mangle, "PREROUTING INPUT FORWARD OUTPUT POSTROUTING"),
            "nat": (nat, "PREROUTING INPUT OUTPUT POSTROUTING"),
            "filter": (rules, "INPUT FORWARD OUTPUT"),
        }
        text = ""
        for table, (lines, chains) in tables.items():
            text += f"*{table}\n" + "".join(f":{c} ACCEPT [0:0]\n" for c in chains.split())
            text += "".join(f"{line}\n" for line in lines) + "COMMIT\n"
        self.case["iptables"] = text

    # Traffic.

    def _target(self, service: dict[str, Any]) -> tuple[str, int]:
        port = service["port"] or self.dice.choice((1234, 5555, 80))
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
            text = f"tcp {ends} {letters} seq={more['seq']} ack={more['ack']} {ttl}{tos}{data}"
        elif connection["protocol"] == "udp":
            df = self.dice.choice(("", "", "df=0 "))
            size = self.dice.choice((1452, 1460, 1472)) if self._chance(0.08) else 0
            text = f"udp {ends} {ttl}{tos}{df}payload={'q' * (size or self.dice.randrange(1, 30))}"
            if self._chance(0.06):
                return self._send_fragments(connection, ends)
        else:
            return self._send_sctp(connection, more.get("chunk", 1))
        self.steps.append(frame_at(connection["at"], text))
        return len(self.steps) - 1

    def _send_fragments(self, connection: dict[str, Any], ends: str) -> int:
        """Send a datagram in two parts, in order."""
        size = self.dice.choice((64, 1472, 1600, 2800))
        whole = parse_packet(
            f"udp {ends} df=0 id={self.dice.randrange(1 << 16)} payload={'f' * size}"
        )
        body = whole.network[20:]
        cut = min(1480, len(body) // 2 // 8 * 8)
        parts = [
            fragment_of(whole.network, part, offset, more=not offset)
            for offset, part in ((0, body[:cut]), (cut, body[cut:]))
        ]
        head = frame_at(connection["at"], "udp 1.1.1.1:1 > 1.1.1.1:1")["hex"][:28]
        for part in parts:
            self.steps.append({"at": connection["at"], "hex": head + part.hex()})
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
        connection = {
            "protocol": service["protocol"], "client": address, "at": at,
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
        if service["protocol"] in kind:
            packet = parse_packet(kind[service["protocol"]]).network
            self.steps.append({"local": packet.hex()})

    def _error(self) -> None:
        """Let the other end, or a router, complain."""
        if not self.open:
            return
        connection = self.dice.choice(self.open)
        number = connection["step"]
        if "answered" in connection and self._chance(0.5):
            number = connection["answered"]
        kind, code = self.dice.choice(((3, 3), (3, 1), (11, 0), (3, 4), (4, 0), (12, 0)))
        step = {"error": number, "type": kind, "code": code,
                "quote": self.dice.choice((28, 40, 60))}  # fmt: skip
        if code == 4:
            step["info"] = 1400
        self.steps.append(step)

    def _stray(self) -> None:
        """Let a server send what nobody asked for."""
        source = self.dice.choice(PODS)
        ends = f"{source}:{self.dice.choice((80, 8080, 8443))} > 192.168.50.9:4444"
        text = self.dice.choice((f"tcp {ends} SA", f"udp {ends}", f"tcp {ends} R"))
        self.steps.append(frame_at(f"pod{source[-1]}", text))

    # Changes.

    def _change(self) -> None:
        """Change a service or a server while connections live."""
        service = self.dice.choice(self.services)
        change = self.dice.choice(("weight", "weight", "add", "delete", "back", "edit", "limits"))
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
            service["scheduler"] = self.dice.choice(SCHEDULERS)
            options = service["options"].partition(" -b ")[0]
            service["options"] = options
            text = f"-E {self._name(service)} -s {service['scheduler']}{options}\n"
        if text:
            self.steps.append({"ipvs": text, "settle": SETTLE_S})


def fragment_of(packet: bytes, part: bytes, offset: int, *, more: bool) -> bytes:
    """Return a fragment of a packet."""
    header = bytearray(packet[:20])
    header[2:4] = (20 + len(part)).to_bytes(2, "big")
    header[6:8] = (offset // 8 | (0x2000 if more else 0)).to_bytes(2, "big")
    header[10:12] = bytes(2)
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + part


def draw_case(seed: int) -> dict[str, Any]:
    """Return case number `seed`."""
    return Drawn(seed).draw()
