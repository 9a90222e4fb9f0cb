"""A question about a node, read: `reach tcp any > 172.17.0.0/16:22 accept`.

    reach CLASS [FATE]     is there a packet of the class that comes to this fate?
    never CLASS [FATE]     is there none?
    always CLASS [FATE]    do all packets of the class come to it?

    CLASS   PROTOCOL SOURCE > DESTINATION CONDITION...
            PROTOCOL is any, a name or a number; SOURCE and DESTINATION are any, an address, a
            prefix A/LEN or a range A-B, with :PORT or :PORT-PORT behind it (of IPv6 in brackets:
            [2001:db8::1]:22). Each may be a list with commas, and stand behind a `!`.
    CONDITION
            in DEV   out DEV   local      where packets enter and leave; local: the node sends them
            ct NEW|ESTABLISHED|RELATED|INVALID|UNTRACKED|any
            type T[/CODE]   of ICMP       flags SYN[/SYN,ACK]   those set, of those looked at
            mark V[/M]   ttl N   tos N   len N
    FATE    accept (the default), drop, reject or queue, then any of
            dnat A[:PORT]   snat A[:PORT]   masquerade   by CHAIN[:RULE] or :LINE, which decided

A class is of packets that begin a connection (ct NEW) unless it says another state: nobody asks
whether an answer may come back, and a rule for ESTABLISHED would answer everything with yes. It is
of packets that come in by a device unless it says `local`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct, field

from netemu.errors import QuestionError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.names import protocol_number, service_port
from netemu.netfilter.xtables.space import CtState, Field, PacketSpace
from netemu.wire.address import parse_address

KINDS = ("reach", "never", "always")
VERDICTS = ("accept", "drop", "reject", "queue")

ANY = "any"

_FLAGS = {
    "FIN": 1,
    "SYN": 2,
    "RST": 4,
    "PSH": 8,
    "ACK": 16,
    "URG": 32,
    "ECE": 64,
    "CWR": 128,
    "ALL": 63,
    "NONE": 0,
}

_NUMBERS = {"ttl": (Field.TTL, 255), "tos": (Field.TOS, 255), "len": (Field.LENGTH, 0xFFFF)}

_WORD = re.compile(r"\S+")
_BRACKETED = re.compile(r"(!?)\[([^\]]*)\](?::(.*))?")

Condition: TypeAlias = Callable[[PacketSpace], int]
"""Makes the set of packets for which it holds."""


class Wish(Struct):
    """What is asked of a packet's fate; what is empty may be anything."""

    verdict: str = "ACCEPT"
    dnat: tuple[bytes, int | None] | None = None
    snat: tuple[bytes, int | None] | None = None
    masquerade: bool = False
    table: str = ""
    chain: str = ""
    rule: int | None = None
    line: int | None = None


class Question(Struct):
    """A question that can be asked of a node of any family it fits."""

    text: str
    kind: str
    conditions: list[Condition] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    """Devices that it names."""
    families: set[Family] = field(default_factory=set)
    """Families of the addresses that it names."""
    states_said: bool = False
    way_said: bool = False
    wish: Wish = field(default_factory=Wish)

    def packets(self, space: PacketSpace) -> int:
        """Return the packets that it asks about."""
        return space.both(*(condition(space) for condition in self.conditions))


def parse_question(text: str) -> Question:
    """Read a question.

    Raises QuestionError at the word that does not fit.
    """
    return _Reader(text).read()


def parse_class(text: str, *, behind: str = "") -> Question:
    """Read a class of packets alone, or `behind` a word that begins the text.

    Raises QuestionError at the word that does not fit.
    """
    reader = _Reader(text)
    if behind and reader.words[-1].text == behind:
        reader.words.pop()
    return reader.read_class()


class _Word(Struct, frozen=True):
    text: str
    column: int


class _Reader:
    """Takes a question word by word."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = [_Word(found[0], found.start() + 1) for found in _WORD.finditer(text)]
        self.words.reverse()
        self.question = Question(text, "")

    def read(self) -> Question:
        kind = self._take("reach, never or always")
        if kind.text not in KINDS:
            raise self._fail(f"{kind.text!r} asks nothing; write {', '.join(KINDS)}, matrix", kind)
        self.question.kind = kind.text
        self.read_class()
        while self.words:
            self._fate(self.words.pop())
        return self.question

    def read_class(self) -> Question:
        self._protocol(self._take("a protocol"))
        self._address(self._take("the source"), Field.SOURCE, Field.SOURCE_PORT)
        arrow = self._take("'>'")
        if arrow.text != ">":
            raise self._fail(f"{arrow.text!r} stands where '>' should be", arrow)
        self._address(self._take("the destination"), Field.DESTINATION, Field.DESTINATION_PORT)
        while self.words and self._condition(self.words[-1]):
            pass
        if not self.question.states_said:
            self._among(Field.CT_STATE, [(CtState.NEW, CtState.NEW)])
        if not self.question.way_said:
            self._among(Field.IN_DEVICE, [(0, 0)], inverted=True)
        return self.question

    # -- words -------------------------------------------------------------------------------

    def _fail(self, message: str, word: _Word | None = None) -> QuestionError:
        column = word.column if word else len(self.text) + 1
        return QuestionError(message, file="<question>", line=1, column=column, context=self.text)

    def _take(self, what: str) -> _Word:
        if not self.words:
            raise self._fail(f"the question ends where {what} should be")
        return self.words.pop()

    def _number(self, text: str, highest: int, word: _Word) -> int:
        try:
            number = int(text, 0)
        except ValueError:
            raise self._fail(f"{text!r} is no number", word) from None
        if not 0 <= number <= highest:
            raise self._fail(f"{number} is not within 0-{highest}", word)
        return number

    def _among(self, field: Field, spans: list[tuple[int, int]], *, inverted: bool = False) -> None:
        """Ask that a field is within one of the spans."""

        def packets(space: PacketSpace) -> int:
            found = space.either(*(space.span(field, low, high) for low, high in spans))
            return space.when(inverted, found)

        self.question.conditions.append(packets)

    # -- the heading -------------------------------------------------------------------------

    def _protocol(self, word: _Word) -> None:
        self.protocol = word.text
        if word.text == ANY:
            return
        inverted, names = _split(word.text)
        numbers = []
        for name in names:
            number = protocol_number(name)
            if number is None:
                number = self._number(name, 255, word) if name.isdigit() else None
            if number is None:
                raise self._fail(f"there is no protocol {name!r}; write any, tcp, udp, ...", word)
            numbers.append((number, number))
        self._among(Field.PROTOCOL, numbers, inverted=inverted)

    def _address(self, word: _Word, field: Field, port_field: Field) -> None:
        bracketed = _BRACKETED.fullmatch(word.text)
        if bracketed is not None:
            addresses, ports = bracketed[1] + bracketed[2], bracketed[3]
        elif word.text.count(":") > 1:
            addresses, ports = word.text, None
        else:
            addresses, colon, behind = word.text.partition(":")
            ports = behind if colon else None
        if addresses not in {ANY, "*", ""}:
            inverted, names = _split(addresses)
            self._among(field, [self._span(name, word) for name in names], inverted=inverted)
        if ports is not None and ports != ANY:
            self._ports(ports, port_field, word)

    def _span(self, text: str, word: _Word) -> tuple[int, int]:
        """Read an address, a prefix or a range."""
        first, dash, last = text.partition("-")
        address, slash, length = first.partition("/")
        try:
            octets = parse_address(address)
            end = parse_address(last) if dash else octets
        except ValueError:
            raise self._fail(f"{text!r} is no address, prefix or range", word) from None
        self.question.families.add(Family.IPV6 if len(octets) == 16 else Family.IPV4)
        low = int.from_bytes(octets, "big")
        if dash:
            high = int.from_bytes(end, "big")
            if len(end) != len(octets) or high < low:
                raise self._fail(f"{text!r} is no range from a lower to a higher address", word)
            return low, high
        bits = len(octets) * 8
        free = bits - self._number(length, bits, word) if slash else 0
        return low >> free << free, low | (1 << free) - 1

    def _ports(self, text: str, field: Field, word: _Word) -> None:
        inverted, names = _split(text)
        spans = []
        for name in names:
            first, dash, last = name.partition("-")
            service = service_port(name, self.protocol if self.protocol != ANY else "")
            if service is not None:
                spans.append((service, service))
                continue
            low = self._number(first, 0xFFFF, word)
            spans.append((low, self._number(last, 0xFFFF, word) if dash else low))
        self._among(field, spans, inverted=inverted)

    # -- conditions --------------------------------------------------------------------------

    def _condition(self, word: _Word) -> bool:
        """Take a condition if there is one."""
        take = _CONDITIONS.get(word.text)
        if take is None:
            return False
        self.words.pop()
        take(self, word)
        return True

    def take_device(self, word: _Word) -> None:
        """Take devices."""
        inverted, names = _split(self._take("a device").text)
        field = Field.IN_DEVICE if word.text == "in" else Field.OUT_DEVICE
        self.question.devices += names
        self.question.way_said |= field == Field.IN_DEVICE

        def packets(space: PacketSpace) -> int:
            found = space.either(*(space.device(field, name) for name in names))
            return space.when(inverted, found)

        self.question.conditions.append(packets)

    def take_local(self, word: _Word) -> None:
        """Take packets that the node sends."""
        self.question.way_said = True
        self._among(Field.IN_DEVICE, [(0, 0)])

    def take_state(self, word: _Word) -> None:
        """Take states of connections."""
        self.question.states_said = True
        said = self._take("a state")
        if said.text == ANY:
            return
        inverted, names = _split(said.text)
        states = []
        for name in names:
            if name.upper() not in CtState.__members__:
                known = ", ".join(CtState.__members__)
                raise self._fail(f"there is no state {name!r}; write {known} or any", said)
            state = CtState[name.upper()]
            states.append((int(state), int(state)))
        self._among(Field.CT_STATE, states, inverted=inverted)

    def take_type(self, word: _Word) -> None:
        """Take an ICMP type."""
        said = self._take("an ICMP type")
        kind, slash, code = said.text.partition("/")
        number = self._number(kind, 255, said) << 8
        low, high = (self._number(code, 255, said),) * 2 if slash else (0, 255)
        self._among(Field.DESTINATION_PORT, [(number + low, number + high)])

    def take_flags(self, word: _Word) -> None:
        """Take TCP flags."""
        said = self._take("flags")
        value, slash, mask = said.text.partition("/")
        self._masked(
            Field.TCP_FLAGS,
            self._flag_bits(value, said),
            self._flag_bits(mask, said) if slash else 0xFF,
        )

    def _flag_bits(self, text: str, word: _Word) -> int:
        bits = 0
        for name in text.upper().split(","):
            if name not in _FLAGS:
                raise self._fail(f"there is no flag {name!r}; write {', '.join(_FLAGS)}", word)
            bits |= _FLAGS[name]
        return bits

    def take_mark(self, word: _Word) -> None:
        """Take a mark."""
        said = self._take("a mark")
        value, slash, mask = said.text.partition("/")
        self._masked(
            Field.MARK,
            self._number(value, 0xFFFFFFFF, said),
            self._number(mask, 0xFFFFFFFF, said) if slash else 0xFFFFFFFF,
        )

    def _masked(self, field: Field, value: int, mask: int) -> None:
        self.question.conditions.append(lambda space: space.masked(field, value & mask, mask))

    def take_plain(self, word: _Word) -> None:
        """Take numbers."""
        field, highest = _NUMBERS[word.text]
        said = self._take("a number")
        inverted, names = _split(said.text)
        spans = []
        for name in names:
            first, dash, last = name.partition("-")
            low = self._number(first, highest, said)
            spans.append((low, self._number(last, highest, said) if dash else low))
        self._among(field, spans, inverted=inverted)

    # -- fates -------------------------------------------------------------------------------

    def _fate(self, word: _Word) -> None:
        wish = self.question.wish
        if word.text.lower() in VERDICTS:
            wish.verdict = word.text.upper()
        elif word.text == "masquerade":
            wish.masquerade = True
        elif word.text in {"dnat", "snat"}:
            setattr(wish, word.text, self._endpoint(self._take("an address")))
        elif word.text == "by":
            self._place(self._take("a chain or a line"))
        else:
            known = ", ".join([*_CONDITIONS, *VERDICTS, "dnat", "snat", "masquerade", "by"])
            raise self._fail(f"{word.text!r} is neither condition nor fate; they are {known}", word)

    def _endpoint(self, word: _Word) -> tuple[bytes, int | None]:
        text, colon, port = word.text.rpartition(":") if word.text.count(":") == 1 else (
            word.text.strip("[]"), "", ""
        )  # fmt: skip
        try:
            address = parse_address(text)
        except ValueError:
            raise self._fail(f"{text!r} is no address", word) from None
        return address, self._number(port, 0xFFFF, word) if colon else None

    def _place(self, word: _Word) -> None:
        wish = self.question.wish
        chain, colon, number = word.text.rpartition(":")
        if not colon:
            chain = word.text
        elif chain:
            wish.rule = self._number(number, 1 << 31, word)
        else:
            wish.line = self._number(number, 1 << 31, word)
        wish.table, _, wish.chain = chain.rpartition("/")


_CONDITIONS: dict[str, Callable[[_Reader, _Word], None]] = {
    "in": _Reader.take_device,
    "out": _Reader.take_device,
    "local": _Reader.take_local,
    "ct": _Reader.take_state,
    "type": _Reader.take_type,
    "flags": _Reader.take_flags,
    "mark": _Reader.take_mark,
    **dict.fromkeys(_NUMBERS, _Reader.take_plain),
}


def _split(text: str) -> tuple[bool, list[str]]:
    """Split `!A,B` into whether it is inverted, and the names.

    >>> _split("!a,b")
    (True, ['a', 'b'])
    """
    return text.startswith("!"), text.removeprefix("!").split(",")
