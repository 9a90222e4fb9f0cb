"""Cases of FTP through a virtual server, with the module ip_vs_ftp."""

from __future__ import annotations

from itertools import product
from typing import Any

from tests.kernel.ipvs_cases import (
    ACK,
    CLIENT,
    EMPTY,
    SYN,
    VIP,
    answer,
    case,
    service,
    tcp,
)
from tests.kernel.ipvs_generator import PSH, Step, frame_at

SERVERS = ("10.244.0.11:21 -m -w 1", "10.244.0.22:21 -m -w 1")
CONTROL = f"{VIP}:21"
MASQUERADE = EMPTY.replace(
    ":POSTROUTING ACCEPT [0:0]\nCOMMIT\n*filter",
    ":POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -d 10.244.0.0/24 -j MASQUERADE\nCOMMIT\n*filter",
)
HELPED = EMPTY.replace(
    "COMMIT\n*mangle",
    "-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp\nCOMMIT\n*mangle",
).replace(
    ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n",
    ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    + "".join(
        f"-A {chain} -m conntrack --ctstate RELATED\n" for chain in ("INPUT", "FORWARD", "OUTPUT")
    )
    + "COMMIT\n",
)


class Dialogue:
    """A control connection, whose numbers count on as both ends see them."""

    def __init__(self, port: int = 2001) -> None:
        """Open it."""
        self.port = port
        self.client_next, self.server_next = 1002, 5001
        self.told = 5001
        self.steps: list[Step] = [
            tcp(port, "S", seq=1001, to=CONTROL),
            answer(0, SYN | ACK, seq=5000, ack=1002),
            tcp(port, "A", seq=1002, ack=5001, to=CONTROL),
        ]
        self.last = 2

    def say(self, text: str) -> Dialogue:
        """Let the client say something."""
        hexed = text.encode().hex()
        line = (
            f"tcp {CLIENT}:{self.port} > {CONTROL} PA seq={self.client_next} ack={self.told} "
            f"payload=0x{hexed}"
        )
        self.client_next += len(text)
        self.last = self.add(frame_at("client", line))
        return self

    def hear(self, text: str, longer: int = 0) -> Dialogue:
        """Let the server answer; the client gets so many octets more."""
        step = answer(self.last, ACK | PSH, seq=self.server_next, ack=self.client_next)
        self.add({**step, "text": text})
        self.server_next += len(text)
        self.told += len(text) + longer
        return self

    def add(self, step: Step) -> int:
        """Let something else happen; return the number of the step."""
        self.steps.append(step)
        return len(self.steps) - 1


def _numbers(address: str, port: int) -> str:
    return f"{address.replace('.', ',')},{port >> 8},{port & 255}"


def _server_sends(client_port: int, flags: str, seq: int = 1) -> list[Step]:
    """Return what either server may send to the client's port; the first one has the connection."""
    return [
        frame_at(f"pod{number}", f"tcp {address}:20 > {CLIENT}:{client_port} {flags} seq={seq}")
        for number, address in ((1, "10.244.0.11"), (2, "10.244.0.22"))
    ]


def _passive(address: str) -> list[Step]:
    one = Dialogue().say("PASV\r\n")
    one.hear(f"227 Entering Passive Mode ({_numbers(address, 40001)}).\r\n")
    data = one.add(frame_at("client", f"tcp {CLIENT}:3001 > {VIP}:40001 S seq=1"))
    one.add(answer(data, SYN | ACK, seq=900, ack=2))
    one.say("LIST\r\n").hear("150 Here it comes\r\n").hear("226 Done\r\n")
    one.say("PASV\r\n").hear(f"227 ok {_numbers(address, 40002)}\r\n")
    return one.steps


def _extended() -> list[Step]:
    one = Dialogue().say("EPSV\r\n").hear("229 Entering Extended Passive Mode (|||40001|)\r\n")
    data = one.add(frame_at("client", f"tcp {CLIENT}:3001 > {VIP}:40001 S seq=1"))
    one.add(answer(data, SYN | ACK, seq=900, ack=2))
    one.say("EPSV 1\r\n").hear("229 again (|1|10.244.0.11|40009|)\r\n")
    one.say("EPSV 2\r\n").hear("229 no (|||40011|)\r\n").say("EPSV ALL\r\n")
    return one.steps


def _active() -> list[Step]:
    one = Dialogue().say(f"PORT {_numbers(CLIENT, 4001)}\r\n").hear("200 PORT\r\n")
    one.steps += _server_sends(4001, "S")
    one.add(frame_at("client", f"tcp {CLIENT}:4001 > {VIP}:20 SA seq=7 ack=2"))
    one.steps += _server_sends(4001, "A", seq=2)
    one.say(f"EPRT |1|{CLIENT}|4002|\r\n").hear("200 EPRT\r\n")
    one.steps += _server_sends(4002, "S")
    one.say("EPRT !1!1.2.3!5!\r\n").say(f"EPRT |2|{CLIENT}|4003|\r\n").say("PORT 1,2,3\r\n")
    one.say(f"PORT  {_numbers(CLIENT, 4004)}").say("NOOP\r\nPASV\r\n")
    one.hear("227 Entering Passive Mode (10,244,0,11,1,2")
    return one.steps


def _one_answer() -> list[Step]:
    """Return what shows that one question is answered once, even if the answer is dropped."""
    lost = "227 (10,244,0,22,1,1)\r\n"
    one = Dialogue().say("PASV\r\n")
    one.server_next += 300000
    one.hear(lost)
    one.server_next -= 300000 + len(lost)
    one.told -= len(lost)
    one.hear("227 (10,244,0,22,1,2)\r\n")
    one.say("PASV\r\n").say("PORT 192,168,50,2,9,9\r\n").hear("227 (10,244,0,22,1,3)\r\n")
    one.say("PASV\r\n").hear("200 ok\r\n").hear("227 10,244,0,22,1,4 ", -1).hear("227 again")
    return one.steps


def ftp_cases() -> list[dict[str, Any]]:
    """Return every case."""
    made = []
    settings = (("empty", EMPTY, 0), ("masquerade", MASQUERADE, 1))
    talks = {
        "PASV": _passive("10.244.0.11"), "PASV of the other server": _passive("10.244.0.22"),
        "one answer": _one_answer(), "EPSV": _extended(), "PORT and EPRT": _active(),
    }  # fmt: skip
    for (talk, steps), (rules, text, tracked) in product(talks.items(), settings):
        name = f"FTP: {talk}, rules {rules}, conntrack={tracked}"
        made.append(
            case(
                name, service("rr", *SERVERS, name=f"-t {CONTROL}"), steps,
                settings={"conntrack": tracked}, iptables=text, ftp=True,
            )
        )  # fmt: skip
    steps = _passive("10.244.0.11")
    made.append(
        case(
            "FTP: persistent, conntrack looks at states",
            service("rr -p 60", *SERVERS, name=f"-t {CONTROL}"),
            steps,
            ftp=True,
        )
    )
    for talk in ("PASV of the other server", "PORT and EPRT"):
        made += [
            case(
                f"FTP: {talk}, conntrack's helper reads along, module {module}",
                service("rr", *SERVERS, name=f"-t {CONTROL}"), talks[talk],
                iptables=HELPED, ftp=module, settings={"conntrack": 1},
            )
            for module in (True, False)
        ]  # fmt: skip
    return made
