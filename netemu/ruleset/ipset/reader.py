"""ipset text read line by line and carried out, as `ipset restore` does.

Kernel: none; ipset_parse_stream, ipset_parser and call_parser of ipset's lib/ipset.c, ipset_cmd of
its lib/session.c.

Theory of operation: lines that add to or delete from one set are sent to the kernel together, when
another command comes. So a line that cannot be read is reported before what the kernel refuses of
the lines above it. `-exist`, once said, holds for the rest of the file. Words may be cut short (`a`
is `add`), options may be written with `--`.

Differs from Linux: three kinds of lines after which `ipset restore` stops reading without a word
are refused: `test`, `help` or `version`, and options of old versions that are ignored (`probes`,
`resize`, `gc`). Names of hosts are not resolved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from netemu.errors import SetTextError
from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.core import IpSets
from netemu.netfilter.ipset.errcode import Command, SetError
from netemu.netfilter.ipset.ip_set import SetType
from netemu.ruleset.ipset.draft import Draft, TextProblem
from netemu.ruleset.ipset.keywords import KEYWORDS, Keyword, matches
from netemu.ruleset.ipset.numbers import separated
from netemu.ruleset.ipset.values import (
    ELEMENT_PARSERS,
    parse_name_compat,
    set_type,
    setname,
)
from netemu.ruleset.ipset.words import SPACES, Word, lines_of, split_words

COMMANDS = (
    ("create", ("create", "new", "-N"), 2),
    ("add", ("add", "-A"), 2),
    ("del", ("del", "-D"), 2),
    ("test", ("test", "-T"), 2),
    ("destroy", ("destroy", "x", "-X"), 0),
    ("list", ("list", "-L"), 0),
    ("save", ("save", "-S"), 0),
    ("restore", ("restore", "-R"), 0),
    ("flush", ("flush", "-F"), 0),
    ("rename", ("rename", "e", "-E"), 2),
    ("swap", ("swap", "w", "-W"), 2),
    ("help", ("help", "-h", "-H"), 0),
    ("version", ("version", "-v", "-V"), 0),
    ("quit", ("quit",), 0),
)
"""Name, spellings, and how many words must follow; a word stands for the first that it begins."""

WITHOUT_SET = frozenset({"restore", "help", "version", "quit"})
INVALID = frozenset({"restore", "help", "version"})

SETTINGS = {
    "-o": 1, "-output": 1, "-s": 0, "-sorted": 0, "-q": 0, "-quiet": 0, "-r": 0, "-resolve": 0,
    "-!": 0, "-exist": 0, "-n": 0, "-name": 0, "-t": 0, "-terse": 0, "-f": 1, "-file": 1,
}  # fmt: skip
"""Options that may stand anywhere, and how many words follow them."""

EXIST = frozenset({"-!", "-exist"})


class _Pending(NamedTuple):
    """A line that waits to be sent."""

    number: int
    line: str
    column: int
    command: Command
    name: str
    said: ElementAttributes
    exist: bool


def read_sets(text: str, file: str, sets: IpSets) -> None:
    """Carry out the commands of a text; raises SetTextError at the first that is refused."""
    _Reader(file, sets).read(text)


class _Reader:
    """Reads one file."""

    def __init__(self, file: str, sets: IpSets) -> None:
        self._file = file
        self._sets = sets
        self._exist = False
        self._number = 0
        self._line = ""
        self._column = 1
        self._pending: list[_Pending] = []
        self._done = False

    def read(self, text: str) -> None:
        """Read line after line."""
        try:
            for number, line in enumerate(lines_of(text), 1):
                self._number, self._line, self._column = number, line, 1
                self._read_line(line)
                if self._done:
                    return
            self._send()
        except TextProblem as problem:
            raise self._error(str(problem)) from None

    def _error(self, message: str) -> SetTextError:
        return SetTextError(
            message,
            file=self._file,
            line=self._number,
            column=self._column,
            context=self._line.rstrip(SPACES),
        )

    def _read_line(self, line: str) -> None:
        bare = line.strip(SPACES)
        if not bare or bare.startswith("#"):
            return
        if line.lstrip(SPACES) in {"COMMIT\n", "COMMIT\r\n"}:
            self._send()
            return
        words = self._without_settings(split_words(line))
        if not words:
            raise TextProblem("No command specified.")
        name, arguments, rest = self._command(words)
        getattr(self, f"_do_{name}")(arguments, rest)

    def _without_settings(self, words: list[Word]) -> list[Word]:
        """Take out the options that may stand anywhere."""
        kept: list[Word] = []
        waiting = iter(words)
        for word in waiting:
            option = word.text[1:] if word.text.startswith("--") else word.text
            if option not in SETTINGS:
                kept.append(word)
                continue
            self._column = word.column
            if option in EXIST:
                self._exist = True
            if SETTINGS[option] and next(waiting, None) is None:
                raise TextProblem(f"Missing mandatory argument to option {option}")
        return kept

    def _command(self, words: list[Word]) -> tuple[str, list[Word], list[Word]]:
        """Return the command, the words that it must have, and the rest."""
        first, *rest = words
        self._column = first.column
        skip = 2 if first.text.startswith("--") else 0
        text = first.text[skip:]
        found = None
        if text and first.text != "-":
            found = next(
                (entry for entry in COMMANDS if any(one.startswith(text) for one in entry[1])), None
            )
        if found is None:
            raise TextProblem(f"No command specified: unknown argument {first.text}")
        name, _, needed = found
        if name in INVALID:
            raise TextProblem(f"Command `{name}' is invalid in restore mode.")
        if needed and not rest:
            raise TextProblem(f"Missing mandatory argument to command {name}")
        if needed > len(rest):
            raise TextProblem(f"Missing second mandatory argument to command {name}")
        taken = needed or int(bool(rest) and name not in WITHOUT_SET)
        return name, rest[:taken], rest[taken:]

    def _no_more(self, rest: list[Word]) -> None:
        if rest:
            self._column = rest[0].column
            raise TextProblem(f"Unknown argument {rest[0].text}")

    def _name(self, word: Word) -> str:
        self._column = word.column
        return setname(word.text)

    # commands about sets

    def _do_create(self, arguments: list[Word], rest: list[Word]) -> None:
        name = self._name(arguments[0])
        self._column = arguments[1].column
        kind = set_type(arguments[1].text)
        draft = Draft(kind, kind.families[0])
        self._options(draft, kind.create, rest, family_first=True)
        self._check_need(draft, kind.create, kind.create_need)
        self._check_allowed(draft, "create", (*kind.create_need, *_options_of(kind.create)))
        self._column = arguments[0].column
        self._send()
        self._ask(
            lambda: self._sets.create(
                name, kind, draft.family, draft.as_create(), exist=self._exist
            )
        )

    def _ask(self, act: object) -> None:
        """Let the kernel act; its refusal is one of this line."""
        assert callable(act)
        try:
            act()
        except SetError as error:
            raise TextProblem(str(error)) from None

    def _do_destroy(self, arguments: list[Word], rest: list[Word]) -> None:
        name = self._name(arguments[0]) if arguments else None
        self._no_more(rest)
        self._send()
        self._ask(lambda: self._sets.destroy(name, exist=self._exist))

    def _do_flush(self, arguments: list[Word], rest: list[Word]) -> None:
        name = self._name(arguments[0]) if arguments else None
        self._no_more(rest)
        self._send()
        self._ask(lambda: self._sets.flush(name))

    def _do_rename(self, arguments: list[Word], rest: list[Word]) -> None:
        name, other = self._name(arguments[0]), self._name(arguments[1])
        self._no_more(rest)
        self._send()
        self._ask(lambda: self._sets.rename(name, other))

    def _do_swap(self, arguments: list[Word], rest: list[Word]) -> None:
        name, other = self._name(arguments[0]), self._name(arguments[1])
        self._no_more(rest)
        self._send()
        self._ask(lambda: self._sets.swap(name, other))

    def _do_list(self, arguments: list[Word], rest: list[Word]) -> None:
        """Only a terminal would see something."""
        name = self._name(arguments[0]) if arguments else None
        self._no_more(rest)
        self._send()
        if name is not None:
            self._ask(lambda: self._sets.need(name))

    _do_save = _do_list

    def _do_quit(self, arguments: list[Word], rest: list[Word]) -> None:
        """Stop; what waits is never sent."""
        self._done = True

    def _do_test(self, arguments: list[Word], rest: list[Word]) -> None:
        raise TextProblem("Command `test' ends ipset restore; the lines below need it gone")

    # commands about elements

    def _do_add(self, arguments: list[Word], rest: list[Word]) -> None:
        self._adt(Command.ADD, arguments, rest)

    def _do_del(self, arguments: list[Word], rest: list[Word]) -> None:
        self._adt(Command.DEL, arguments, rest)

    def _adt(self, command: Command, arguments: list[Word], rest: list[Word]) -> None:
        name = self._name(arguments[0])
        there = self._sets.find(name)
        if there is None:
            raise TextProblem("The set with the given name does not exist")
        kind = there.type
        draft = Draft(kind, there.family)
        self._column = arguments[1].column
        self._element(draft, arguments[1].text)
        adding = command is Command.ADD
        words = kind.add if adding else kind.delete
        self._options(draft, words, rest)
        self._check_allowed(draft, command.value, (*kind.need, *kind.may, *_options_of(words)))
        waiting = self._pending[-1] if self._pending else None
        if waiting is not None and (waiting.command, waiting.name) != (command, name):
            self._send()
            waiting = None
        self._pending.append(
            _Pending(
                self._number,
                self._line,
                arguments[1].column,
                command,
                name,
                draft.as_element(),
                waiting.exist if waiting is not None else self._exist,
            )
        )

    def _send(self) -> None:
        """Let the kernel add or delete what waits."""
        pending, self._pending = self._pending, []
        for one in pending:
            try:
                self._sets.adt(one.command, one.name, one.said, exist=one.exist)
            except SetError as error:
                self._number, self._line, self._column = one.number, one.line, one.column
                raise TextProblem(str(error)) from None

    def _element(self, draft: Draft, text: str) -> None:
        """Read the parts of an element (ipset_parse_elem)."""
        kind = draft.type
        parts = kind.parts
        texts = [text]
        for place in range(2):
            cut = separated(texts[-1], ",")
            if len(parts) > place + 1:
                if cut is None and not kind.optional_last:
                    ordinal = ("Second", "Third")[place]
                    raise TextProblem(f"Syntax error: {ordinal} element is missing from {text}.")
            elif cut is not None and place == 0 and kind.last:
                parse_name_compat(draft, text)
                return
            elif cut is not None:
                raise _too_many(kind, text, place)
            if cut is None:
                break
            texts[-1:] = cut
        if len(parts) == 3 and separated(texts[-1], ",") is not None:
            raise _too_many(kind, text, 2)
        for part, one in zip(parts, texts, strict=False):
            ELEMENT_PARSERS[part.parser](draft, part.option, one)

    def _options(
        self, draft: Draft, words: tuple[str, ...], rest: list[Word], *, family_first: bool = False
    ) -> None:
        """Read options in order (call_parser).

        Those of a new set are gone through twice: the family, wherever it stands, and words that
        are no options come first.
        """
        if not words and rest:
            self._column = rest[0].column
            raise TextProblem(f"Unknown argument: `{rest[0].text}'")
        for only_family in (True, False) if family_first else (False,):
            for keyword, word, value in self._keywords(words, rest):
                if (keyword.option == "family") is not only_family:
                    continue
                self._column = value.column
                if self._is_set(draft, keyword):
                    raise TextProblem(f"Syntax error: {keyword.name} already specified")
                keyword.parse(draft, keyword.option, value.text if keyword.takes_value else word)

    @staticmethod
    def _is_set(draft: Draft, keyword: Keyword) -> bool:
        """Return whether an option was said; flags may be said again."""
        if keyword.option == "family":
            return not draft.family_assumed
        return keyword.takes_value and keyword.option in draft

    def _keywords(
        self, words: tuple[str, ...], rest: list[Word]
    ) -> Iterator[tuple[Keyword, str, Word]]:
        waiting = iter(rest)
        for word in waiting:
            self._column = word.column
            keyword = next(
                (KEYWORDS[one] for one in words if matches(word.text, KEYWORDS[one].name)), None
            )
            if keyword is None:
                raise TextProblem(f"Unknown argument: `{word.text}'")
            value = word
            if keyword.takes_value:
                following = next(waiting, None)
                if following is None:
                    raise TextProblem(f"Missing mandatory argument of option `{keyword.name}'")
                value = following
            yield keyword, word.text, value

    def _check_need(self, draft: Draft, words: tuple[str, ...], need: tuple[str, ...]) -> None:
        """Refuse when something is missing (check_mandatory)."""
        said = set(draft.values)
        if "cidr" in said:
            said.add("ip_to")
        missing = [option for option in need if option not in said]
        for word in words:
            if KEYWORDS[word].option in missing:
                raise TextProblem(f"Mandatory option `{KEYWORDS[word].name}' is missing")

    def _check_allowed(self, draft: Draft, command: str, allowed: tuple[str, ...]) -> None:
        """Refuse ranges where there may be none (check_allowed)."""
        may = set(allowed)
        if "ip_to" in may:
            may.add("cidr")
        for option, words in _RANGES.items():
            if option not in draft or option in may:
                continue
            family = {4: "inet", 6: "inet6"}.get(_family_number(draft), "unspec")
            raise TextProblem(
                f"{words} is not allowed in command {command} with set type {draft.type.name} "
                f"and family {family}"
            )
        if "cidr2" in draft and "cidr2" not in may:
            why = "can't resolve them" if command == "add" else "option list is empty"
            raise TextProblem(
                f"There are not allowed options (28) but {why}. "
                "It's a bug, please report the problem."
            )


_RANGES = {
    "ip_to": "FROM-TO IP range",
    "cidr": "IP/CIDR range",
    "port_to": "FROM-TO port range",
}


def _family_number(draft: Draft) -> int:
    if draft.family is None and "ip" not in draft:
        return 0
    return 6 if draft.address_bits == 128 else 4


def _options_of(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(KEYWORDS[word].option for word in words)


def _too_many(kind: SetType, text: str, place: int) -> TextProblem:
    what, supported = (("Elem separator", "none"), ("Two elem separators", "one"),
                       ("Three elem separators", "two"))[place]  # fmt: skip
    return TextProblem(
        f"Syntax error: {what} in {text}, but settype {kind.name} supports {supported}."
    )
