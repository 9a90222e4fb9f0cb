"""One rule line: its words are claimed by iptables' own options and by the extensions it loads.

Kernel: none; do_parse, command_match, command_jump, command_default and load_proto of iptables
(xshared.c).

Theory of operation: words are looked at from left to right as getopt_long does. `-m NAME` and
`-j NAME` load an extension, whose options are known from there on. An option that nobody knows
loads the match of the rule's protocol, once (`-p tcp --dport 80`). A second `-m tcp` starts a
second instance: the first is completed. So options may stand in any order, and a word means what
the words before it made it mean.
"""

from __future__ import annotations

import re
from typing import NoReturn

from netemu.errors import Refusal, RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import check_interface
from netemu.netfilter.xtables.kinds import MOST_DIGITS, OptionCall, c_integer, octets_of, shape
from netemu.netfilter.xtables.kit import Extension
from netemu.netfilter.xtables.model import Invert
from netemu.netfilter.xtables.names import protocol_name, protocol_number
from netemu.netfilter.xtables.registry import Registry
from netemu.ruleset.draft import Draft, Loaded, Use, canonical_option
from netemu.ruleset.getopt import (
    BASE_LONG,
    IP6_LONG,
    MAY_HAVE_VALUE,
    NEEDS_VALUE,
    NO_VALUE,
    ExtensionOption,
    find_option,
)
from netemu.ruleset.words import Word

COMMANDS = frozenset("AIDRCNPFXZELS")

MAX_NAME = 28
"""Octets of a chain's or an extension's name (XT_EXTENSION_MAXNAMELEN less one)."""

_INVERT = {
    "s": Invert.SRCIP,
    "d": Invert.DSTIP,
    "i": Invert.VIA_IN,
    "o": Invert.VIA_OUT,
    "p": Invert.PROTO,
    "f": Invert.FRAG,
}

U64_MAX = 0xFFFFFFFFFFFFFFFF

_COUNTER = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)")

_ILLEGAL = {"n": "-n", "x": "-x", "0": "--line-numbers"}


class RuleReader:
    """Reads the words of one line into a `Draft`."""

    __slots__ = ("_base", "_draft", "_family", "_inverted", "_position", "_registry", "_words")

    def __init__(
        self, words: list[Word], registry: Registry, family: Family, *, as_nft: bool = False
    ) -> None:
        """Stand before the first word."""
        self._base = BASE_LONG if as_nft or family == Family.IPV4 else IP6_LONG
        self._words = words
        self._registry = registry
        self._family = family
        self._draft = Draft()
        self._position = 0
        self._inverted = False

    def read(self) -> Draft:
        """Claim every word."""
        while self._position < len(self._words) and not self._draft.other_family:
            word = self._words[self._position]
            try:
                if self._claim(word):
                    break
            except RulesetError as error:
                if not error.column:
                    error.column = word.column
                raise
        self._finish()
        return self._draft

    def _finish(self) -> None:
        draft = self._draft
        if draft.other_family:
            return
        if self._position < len(self._words):
            column = self._words[self._position].column
            raise RulesetError(
                "unknown arguments found on commandline", Refusal.SYNTAX, column=column
            )
        if not draft.command:
            raise RulesetError(
                "no command specified; `-A CHAIN` begins a rule", Refusal.SYNTAX, column=1
            )
        if self._inverted:
            raise RulesetError(
                "nothing appropriate following !", Refusal.SYNTAX, column=self._words[-1].column
            )

    # -- one word ---------------------------------------------------------------------------

    def _claim(self, word: Word) -> bool:
        """Claim one word and the values behind it; True ends the options (`--`)."""
        text = word.text
        if text == "!":
            if self._inverted:
                raise RulesetError("multiple consecutive ! not allowed", Refusal.SYNTAX)
            self._inverted = True
            self._position += 1
            return False
        if text == "--":
            self._position += 1
            return True
        if len(text) < 2 or text[0] != "-":
            if text[:1] == "#":
                raise RulesetError(
                    f"Bad argument `{text}'; a comment begins its line with #, or is said with "
                    "-m comment",
                    Refusal.COMMENT,
                )
            if self._position and self._words[self._position - 1].text == "!":
                raise RulesetError(
                    f"Bad argument `{text}'; the `!` stands before the option", Refusal.INVERSION
                )
            raise RulesetError(f"Bad argument `{text}'; an option or `!` would do", Refusal.SYNTAX)
        if text.startswith("--"):
            self._long(word)
        else:
            self._short(word)
        return False

    def _short(self, word: Word) -> None:
        """Take a word of short options, such as `-p` or `-fj`."""
        self._draft.plain &= len(word.text) == 2
        for place, letter in enumerate(word.text[1:], start=2):
            glued = word.text[place:]
            if letter in NO_VALUE:
                self._position += not glued
                self._option(letter, "", word)
                if self._draft.other_family:
                    return
            elif letter in NEEDS_VALUE:
                self._generic(letter, glued, word)
                return
            elif letter in MAY_HAVE_VALUE:
                self._position += 1
                self._option(letter, glued, word)
                return
            else:
                self._unknown(word)

    def _long(self, word: Word) -> None:
        name, equals, glued = word.text[2:].partition("=")
        found = find_option(name, self._extensions(), self._base)
        if found is None and self._load_protocol(word):
            return
        if found is None:
            self._unknown(word)
        if isinstance(found, ExtensionOption):
            self._extension_option(found, glued if equals else None, word)
            return
        self._draft.plain = False
        if found in NEEDS_VALUE:
            self._generic(found, glued, word)
        elif equals and found in NO_VALUE:
            self._unknown(word)
        else:
            self._position += 1
            self._option(found, glued, word)

    def _extensions(self) -> list[Extension]:
        """Every loaded extension, the last one first."""
        draft = self._draft
        loaded = [*draft.matches, *([draft.target] if draft.target else [])]
        loaded.sort(key=lambda item: -item.column)
        return [item.extension for item in loaded]

    def _unknown(self, word: Word) -> NoReturn:
        names = [f"`{extension.name}'" for extension in self._extensions()]
        where = ", ".join(["iptables itself", *names])
        message = f'unknown option "{word.text}"; it was looked for in {where}'
        if self._draft.jump and self._draft.target is None:
            message += f", and `{self._draft.jump}' is no known target"
        raise RulesetError(message, Refusal.OPTION)

    def _load_protocol(self, word: Word) -> bool:
        """Load the match named like the rule's protocol (load_proto)."""
        draft = self._draft
        if not draft.protocol_name or draft.protocol_loaded:
            return False
        name = draft.protocol_name
        if shape("NUMBER").fullmatch(name) is not None:
            name = protocol_name(draft.protocol)
        if self._registry.find_match(name, self._family) is None:
            return False
        draft.protocol_loaded = True
        self._load_match(name, word)
        return True

    # -- options of extensions -----------------------------------------------------------------

    def _extension_option(self, found: ExtensionOption, glued: str | None, word: Word) -> None:
        extension, option = found
        draft = self._draft
        loaded = next(
            item
            for item in [*reversed(draft.matches), *([draft.target] if draft.target else [])]
            if item.extension is extension and not item.completed
        )
        arity = option.kind.arity
        first = self._position
        self._position += 1
        inverted, self._inverted = self._inverted, False
        value: str | None = ""
        if not arity:
            if glued is not None:
                self._unknown(word)
        elif option.kind.absent is not None:
            draft.plain = False
            if glued is not None:
                self._unknown(word)
            value = self._next_value()
        elif glued is not None:
            value = glued
        else:
            if self._position >= len(self._words):
                raise RulesetError(f'option "{word.text}" requires an argument', Refusal.SYNTAX)
            value = self._words[self._position].text
            self._position += 1
        for _ in range(arity - 1):
            value = f"{value} {self._further_word(word)}"
        loaded.admit(option, inverted=inverted)
        call = OptionCall(
            extension.name,
            option.name,
            self._family,
            draft.protocol,
            bool(draft.invert & Invert.PROTO),
        )
        canonical = canonical_option(extension, option)
        loaded.uses.append(Use(option, canonical, call, first + 1, inverted))
        draft.plain &= glued is None
        try:
            if value is None:
                loaded.add(option, option.kind.absent, inverted)
            else:
                loaded.add(option, option.kind.parse(value, call) if arity else True, inverted)
        except RulesetError as error:
            if not error.column and arity and glued is None:
                error.column = self._words[first + 1].column
            if value == "!":
                error.refusal = Refusal.INVERSION
            raise

    def _further_word(self, word: Word) -> str:
        """Return the second value of an option that takes two."""
        if self._position < len(self._words):
            text = self._words[self._position].text
            if text != "!" and not text.startswith("-"):
                self._position += 1
                return text
        raise RulesetError(f"{word.text} requires two args.", Refusal.SYNTAX)

    # -- iptables' own options -----------------------------------------------------------------

    def _generic(self, letter: str, glued: str, word: Word) -> None:
        """Take an option of iptables' own that needs a value.

        Only commands, -m and -c read what is glued to them; the others read the last word that
        getopt looked at, which then is the whole word.
        """
        value_word = word
        self._position += 1
        if not glued:
            if self._position >= len(self._words):
                raise RulesetError(f'option "{word.text}" requires an argument', Refusal.SYNTAX)
            value_word = self._words[self._position]
            self._draft.places["j" if letter == "g" else letter] = self._position
            self._position += 1
        value = value_word.text
        if glued and (letter in COMMANDS or letter in "mcg"):
            value = glued
        try:
            self._option(letter, value, word, value_word.column)
        except RulesetError as error:
            if not error.column:
                error.column = value_word.column
            if value == "!":
                error.refusal = Refusal.INVERSION
            raise

    def _option(self, letter: str, value: str, word: Word, column: int = 0) -> None:
        """Act on one option of iptables' own."""
        draft = self._draft
        inverted, self._inverted = self._inverted, False
        if letter in COMMANDS:
            self._draft.chain_column = column or word.column
            self._command(letter, value, word, inverted=inverted)
        elif letter in _INVERT:
            self._once(letter, word, inverted=inverted)
            self._generic_match(letter, value)
        elif letter == "m":
            if inverted:
                raise RulesetError(
                    "unexpected ! flag before --match", Refusal.SYNTAX, column=word.column
                )
            self._load_match(value, word)
        elif letter in "jg":
            self._once("j", word, inverted=inverted)
            draft.goto = letter == "g"
            self._jump(value, column)
        elif letter == "c":
            self._once(letter, word, inverted=inverted)
            self._counters(value)
        elif letter in "46":
            draft.plain = False
            draft.other_family = (letter == "4") != (self._family == Family.IPV4)
        elif letter == "v":
            if inverted:
                raise RulesetError("cannot have ! before -v", Refusal.SYNTAX, column=word.column)
        elif letter in _ILLEGAL:
            raise RulesetError(
                f"Illegal option `{_ILLEGAL[letter]}' with this command", Refusal.COMMAND
            )
        elif letter == "t":
            raise RulesetError(
                "The -t option cannot be used in iptables-restore; the `*TABLE` line names it",
                Refusal.COMMAND,
                column=word.column,
            )
        elif letter in "wWVh":
            raise RulesetError(
                f"You cannot use `{word.text}' from iptables-restore",
                Refusal.COMMAND,
                column=word.column,
            )

    def _once(self, letter: str, word: Word, *, inverted: bool) -> None:
        """Refuse a second use, and a `!` before what has no inverse (set_option)."""
        draft = self._draft
        if letter in draft.options:
            raise RulesetError(
                f"multiple -{letter} flags not allowed", Refusal.COMBINATION, column=word.column
            )
        draft.options[letter] = word.column
        if not inverted:
            return
        flag = _INVERT.get(letter)
        if flag is None:
            raise RulesetError(
                f"cannot have ! before -{letter}", Refusal.COMBINATION, column=word.column
            )
        draft.invert |= flag

    def _generic_match(self, letter: str, value: str) -> None:
        draft = self._draft
        if letter == "s":
            draft.sources = value
        elif letter == "d":
            draft.destinations = value
        elif letter == "i":
            draft.in_device = _interface(value)
        elif letter == "o":
            draft.out_device = _interface(value)
        elif letter == "f":
            if self._family != Family.IPV4:
                raise RulesetError(
                    'unknown option "-f"; IPv6 has `-m frag` for fragments', Refusal.OPTION
                )
            draft.fragment = True
        else:
            self._protocol(value)

    def _protocol(self, value: str) -> None:
        draft = self._draft
        name = value.lower()
        number: int | None
        if shape("NUMBER").fullmatch(name) is not None and c_integer(name) <= 0xFF:
            number = c_integer(name)
        else:
            number = protocol_number(name)
        if number is None:
            raise RulesetError(
                f'unknown protocol "{name}" specified; 0-255 or a name of /etc/protocols would do'
            )
        if not number and draft.invert & Invert.PROTO:
            raise RulesetError("rule would never match protocol")
        draft.protocol = number
        draft.protocol_name = name

    def _load_match(self, name: str, word: Word) -> None:
        check_extension_name("match", name)
        match = self._registry.find_match(name, self._family)
        if match is None:
            raise RulesetError(
                f"Couldn't load match `{name}':No such file or directory; "
                f"known matches are {self._registry.match_names(self._family)}",
                Refusal.EXTENSION,
            )
        for other in self._draft.matches:
            if other.extension is match:
                other.completed = True
        self._draft.matches.append(Loaded(match, word.column))

    def _jump(self, name: str, column: int) -> None:
        draft = self._draft
        check_extension_name("target", name)
        if not name:
            raise RulesetError("Invalid target name (too short)")
        draft.jump = name
        draft.jump_column = column
        if draft.goto:
            return
        target = self._registry.find_target(name, self._family)
        if target is not None:
            draft.target = Loaded(target, column)

    def _counters(self, value: str) -> None:
        packets, comma, octets = value.partition(",")
        if not comma:
            octets = self._next_value() or ""
        if not octets:
            raise RulesetError("-c requires packet and byte counter", Refusal.SYNTAX)
        self._draft.counters = counter(packets), counter(octets)
        self._draft.own_counters = True

    def _next_value(self) -> str | None:
        """Return the next word when it is no option (xs_has_arg)."""
        if self._position >= len(self._words):
            return None
        text = self._words[self._position].text
        if text.startswith(("-", "!")):
            return None
        self._position += 1
        return text

    # -- commands --------------------------------------------------------------------------

    def _command(self, letter: str, value: str, word: Word, *, inverted: bool) -> None:
        draft = self._draft
        if inverted:
            raise RulesetError(
                f"unexpected '!' flag before -{letter}", Refusal.SYNTAX, column=word.column
            )
        if draft.command:
            raise RulesetError(
                f"Cannot use -{letter} with -{draft.command}", Refusal.SYNTAX, column=word.column
            )
        draft.command = letter
        if letter in MAY_HAVE_VALUE and not value:
            value = self._next_value() or ""
        draft.chain = value
        if letter in "ID":
            self._number(self._next_value())
        elif letter == "R":
            number = self._next_value()
            if number is None:
                raise RulesetError("-R requires a rule number", Refusal.SYNTAX, column=word.column)
            self._number(number)
        elif letter in "ZLS" and value:
            self._number(self._next_value())
        elif letter in "PE":
            draft.argument = self._next_value() or ""
            if not draft.argument:
                need = (
                    "a chain and a policy" if letter == "P" else "old-chain-name and new-chain-name"
                )
                raise RulesetError(f"-{letter} requires {need}", Refusal.SYNTAX, column=word.column)

    def _number(self, text: str | None) -> None:
        if text is None:
            return
        if shape("NUMBER").fullmatch(text) is None or not 0 < c_integer(text) < 0xFFFFFFFF:
            raise RulesetError(f"Invalid rule number `{text}'")
        self._draft.number = c_integer(text)


def _interface(name: str) -> str:
    if not name:
        raise RulesetError("Empty interface is likely to be undesired; `+` means any")
    check_interface(name)
    return name


def counter(text: str) -> int:
    """Read a packet or byte counter as sscanf(3) does: what stands behind a number is ignored.

    >>> counter("3"), counter(" +3x"), counter("-1") == counter("9" * 30)
    (3, 3, True)
    """
    found = _COUNTER.match(text)
    if found is None:
        raise RulesetError(f"-c counter not numeric: `{text}'; a number would do")
    sign, digits = found.groups()
    value = int(digits.lstrip("0")[:MOST_DIGITS] or "0")
    if value > U64_MAX:
        return U64_MAX
    return -value & U64_MAX if sign == "-" else value


def check_extension_name(what: str, name: str) -> None:
    """Refuse a name that no extension or chain can have."""
    if len(octets_of(name)) > MAX_NAME:
        raise RulesetError(f"Invalid {what} name `{name}' ({MAX_NAME} chars max)", Refusal.NAME)
