"""iptables-save text read line by line, as iptables-restore reads it.

Kernel: none; xtables_restore_parse and iptables_restore_main of iptables (iptables-restore.c).

Counters are taken wherever they stand, as `iptables-restore -c` does, but those of policies may be
left out, as without `-c`; or none is taken, but what a rule itself says with `-c`.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Collection, Iterator
from copy import copy
from itertools import pairwise

from netemu.errors import Refusal, RulesetError
from netemu.netfilter.extensions import EXTENSIONS
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.model import Chain, Rule, Ruleset, Table
from netemu.netfilter.xtables.registry import Registry
from netemu.ruleset import nft, tables
from netemu.ruleset.build import Circumstances, check_command, make_rules, resolve_jump
from netemu.ruleset.commit import check_table
from netemu.ruleset.draft import Draft
from netemu.ruleset.rule import RuleReader, counter
from netemu.ruleset.shapes import ShapeCache
from netemu.ruleset.words import read_fields, read_rule_line, split_words

_NAMING = frozenset({"-m", "--match", "-j", "--jump", "-g", "--goto"})

_EDITS = frozenset({"-A", "-I", "-D", "-R", "-C", "-F", "-N", "-X", "-P"})
"""Commands whose second word is the one chain that they are about."""

_USER_CHAIN = re.compile(r":(?![-!]|[A-Z]{4,6} )([!-~]{1,28}) - \[[0-9]+:[0-9]+\]\n")
"""The plainest line that declares a chain, whose name is surely none of a built-in target."""


_BEFORE_A_RULE = re.compile(r"\[[^\]:\n]+:[^\]\n]+\] ?(?=-)")
"""Counters in front of a command."""


def parse_ruleset(  # noqa: PLR0913 - one keyword for each way of reading
    text: str,
    file: str = "",
    *,
    family: Family = Family.IPV4,
    backend: str = "legacy",
    counters: bool = True,
    registry: Registry = EXTENSIONS,
    onto: Ruleset | None = None,
    refusals: list[RulesetError] | None = None,
) -> Ruleset:
    r"""Read iptables-save text; raises RulesetError at the first line that would not load.

    `backend` is `legacy` or `nft`; without `counters` they are skipped, as without `-c`. With
    `onto` the tables of a running ruleset are gone on from, as `iptables-restore --noflush` does,
    and stay as they are; chains that the text does not name are shared with them. With a list for
    `refusals` every line that would not load is put there, and the rest is read.

    >>> ruleset = parse_ruleset("*filter\n-A INPUT -p tcp -j DROP\nCOMMIT\n")
    >>> ruleset.tables[0].chains["INPUT"].rules[0].text
    '-p tcp -j DROP'
    """
    assert backend in {"legacy", "nft"}, backend
    as_nft = backend == "nft"
    assert onto is None or not as_nft
    reader = _Reader(file, family, registry, as_nft=as_nft, counted=counters, onto=onto)
    with _no_collection():
        return reader.read(text, refusals)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Let nobody look for garbage meanwhile, for what is made is kept.

    Afterwards it counts as old: freeze and unfreeze put everything into the oldest generation.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()
        gc.enable()


class _Reader:
    """Reads one file."""

    __slots__ = (
        "_as_nft",
        "_before",
        "_counted",
        "_family",
        "_file",
        "_lines",
        "_lost",
        "_made",
        "_number",
        "_onto",
        "_place",
        "_refusals",
        "_registry",
        "_ruleset",
        "_shapes",
        "_table",
        "_used_elsewhere",
        "_written",
    )

    def __init__(
        self,
        file: str,
        family: Family,
        registry: Registry,
        *,
        as_nft: bool,
        counted: bool,
        onto: Ruleset | None,
    ) -> None:
        self._file = file
        self._family = family
        self._registry = registry
        self._as_nft = as_nft
        self._counted = counted
        self._ruleset = Ruleset(family=family, file=file)
        self._table: Table | None = None
        self._written: list[str] = []
        """The lines of the file."""
        self._lines: list[str] = []
        """The lines as they are read: without counters that are skipped."""
        self._number = 0
        self._place = Circumstances(family=family, nft=as_nft)
        self._shapes = ShapeCache(self._place)
        self._made: set[str] = set()
        """Chains that iptables-nft has sent to the kernel."""
        self._refusals: list[RulesetError] | None = None
        self._lost = False
        """It was already said that there is no table."""
        self._onto = {table.name: table for table in onto.tables} if onto is not None else {}
        """The running tables that the text goes on from."""
        self._before: Table | None = None
        """That of the table which is being read."""
        self._used_elsewhere: set[str] | None = None
        """Chains that chains which the text leaves alone jump to, once somebody asks."""

    def read(self, text: str, refusals: list[RulesetError] | None = None) -> Ruleset:
        """Read every line."""
        self._refusals = refusals
        lines = self._lines = self._written = text.split("\n")
        if not self._counted:
            lines = self._lines = [
                _BEFORE_A_RULE.sub("", line, count=1) if line[:1] == "[" else line for line in lines
            ]
        whole = len(lines) - 1
        if not lines[whole]:
            lines.pop()
        numbered = enumerate(lines, start=1)
        while True:
            try:
                for number, line in numbered:
                    table = self._table
                    if table is not None and self._shapes.match(table.chains, line, number):
                        continue
                    self._number = number
                    self._line(f"{line}\n" if number <= whole else line)
                break
            except RulesetError as error:
                self._refuse(error)
                self._recover(error)
        if self._table is not None:
            self._number = len(lines) + 1
            self._refuse(RulesetError(f"COMMIT expected at line {self._number}", Refusal.COMMIT))
            self._commit(self._table)
        return self._ruleset

    def _refuse(self, error: RulesetError) -> None:
        """Raise what would not load, with its place, or keep it and go on."""
        placed = self._placed(error)
        if self._refusals is None:
            raise placed from None
        self._refusals.append(placed)

    def _recover(self, error: RulesetError) -> None:
        """Go on behind a line that would not load, so that nothing is told twice."""
        self._lost = self._table is None
        if error.refusal is not Refusal.COMMIT:
            return
        if self._table is not None:
            self._commit(self._table)
        line = self._lines[self._number - 1]
        if line[:1] == "*":
            try:
                self._begin(f"{line}\n")
            except RulesetError as second:
                self._refuse(second)
                self._lost = True

    def _placed(self, error: RulesetError) -> RulesetError:
        """Give an error the place where it is not yet known, and the line there."""
        number = error.line or self._number
        if number > len(self._written):
            return RulesetError(error.message, error.refusal, file=self._file, line=number)
        written = self._written[number - 1]
        return RulesetError(
            error.message,
            error.refusal,
            file=self._file,
            line=number,
            column=(error.column or 1) + len(written) - len(self._lines[number - 1]),
            context=written,
        )

    def _line(self, line: str) -> None:
        if line == "\n" or line[0] == "#":
            return
        if self._table is None:
            if line[0] != "*":
                if self._lost:
                    return
                right = "a line `*filter` begins one"
                if line[0] == "\ufeff":
                    right += ", without the byte order mark that this one has"
                raise RulesetError(f"no table yet; {right}", Refusal.TABLE)
            self._begin(line)
        elif line == "COMMIT\n" or (self._as_nft and line == "COMMIT"):
            self._commit(self._table)
        elif line[0] == ":":
            self._chain(self._table, line)
        elif line[0] == "*" or line.split() == ["COMMIT"]:
            raise RulesetError(
                f"Bad argument `{line.split(maxsplit=1)[0]}'; a bare line `COMMIT` ends the "
                f"table {self._table.name}",
                Refusal.COMMIT,
            )
        else:
            self._rule(self._table, line)

    def _begin(self, line: str) -> None:
        name = read_fields("table_line", line)[0]
        self._table = tables.new_table(name, self._family, self._number)
        self._before = self._onto.get(name)
        self._used_elsewhere = None
        if self._before is not None:
            self._table = self._before.onto(self._named_chains(self._before))
        self._table.touched = not self._as_nft
        self._place = Circumstances(family=self._family, table=name, nft=self._as_nft)
        self._shapes = ShapeCache(self._place)
        self._made.clear()

    def _named_chains(self, table: Table) -> Collection[str]:
        """Return the chains that the lines up to COMMIT may change."""
        found: set[str] = set()
        for line in self._lines[self._number :]:
            if line[:6] == "COMMIT":
                break
            words = _BEFORE_A_RULE.sub("", line, count=1).split(maxsplit=2)
            if words and words[0][:1] == ":":
                found.add(words[0][1:])
            elif len(words) > 1 and words[0] in _EDITS:
                found.add(words[1])
            elif words and words[0][:1] == "-":
                return table.chains
        return found

    def _is_used(self, name: str) -> bool:
        """Return whether a rule leads to a chain, of which there may be many thousands."""
        assert self._table is not None
        if self._before is None:
            return tables.is_used(self._table, name)
        old, new = self._before.chains, self._table.chains
        if self._used_elsewhere is None:
            untouched = (chain for key, chain in new.items() if old.get(key) is chain)
            self._used_elsewhere = {rule.jump for chain in untouched for rule in chain.rules}
        if name in self._used_elsewhere:
            return True
        changed = self._table.changed_since(self._before)
        return any(rule.jump == name for chain in changed for rule in chain.rules)

    def _column_of(self, rule: Rule, name: str) -> int:
        """Return the column of an extension's or chain's name in the line of a rule."""
        if self._before is not None:
            old = self._before.chains.values()
            if any(rule is known for chain in old for known in chain.rules):
                message = f"the rule `{rule.text}' of the running table {self._before.name} no"
                message += f" longer stands: {name}"
                raise RulesetError(message, line=self._number)
        assert rule.line is not None
        words = read_rule_line(f"{self._lines[rule.line - 1]}\n").words
        named = (
            word.column
            for before, word in pairwise(words)
            if before.text in _NAMING and word.text == name
        )
        return next(named, 1)

    def _commit(self, table: Table) -> None:
        check_table(
            table,
            self._column_of,
            as_nft=self._as_nft,
            refuse=self._refuse,
            before=self._before,
        )
        for place, other in enumerate(self._ruleset.tables):
            if other.name == table.name:
                self._ruleset.tables[place] = table
                break
        else:
            self._ruleset.tables.append(table)
        self._table = None

    def _chain(self, table: Table, line: str) -> None:
        plain = _USER_CHAIN.fullmatch(line)
        if plain is not None and plain[1] not in table.chains:
            table.chains[plain[1]] = Chain(name=plain[1], line=self._number)
            table.touched = True
            if self._as_nft:
                self._made.add(plain[1])
            return
        fields = line[1:-1].split(" ")
        if len(fields) != 3 or not all(fields) or "\t" in line or line[-1] != "\n":
            fields = read_fields("chain_line", line)
        if self._as_nft:
            self._made.add(fields[0])
            nft.declare(table, fields, self._number, counted=self._counted)
            return
        name, policy, *rest = fields
        tables.check_new_name(name)
        chain = table.chains.get(name)
        if chain is not None and chain.policy is None and self._before is not None:
            chain.rules.clear()
            return
        if chain is None or chain.policy is None:
            tables.add_chain(table, name, self._number)
        table.chains[name].line = self._number
        if policy == "-":
            return
        counters = None
        if rest and self._counted:
            counters = tables.policy_counters(name, rest[0], line.rindex(rest[0]) + 1)
        tables.set_policy(table, name, policy, counters)

    # -- rules -------------------------------------------------------------------------------

    def _rule(self, table: Table, line: str) -> None:
        counters, body = self._counters(line)
        words = split_words(body)
        if self._shapes.append(table.chains, line.rstrip("\n"), words, counters, self._number):
            return
        read = read_rule_line(line)
        draft = RuleReader(read.words, self._registry, self._family, as_nft=self._as_nft).read()
        self._take_counters(draft, counters)
        if self._as_nft and not draft.other_family:
            nft.make_chains(table, draft)
        if draft.other_family:
            self._execute_for_other_family(table, draft)
            return
        self._execute(table, draft)
        self._shapes.learn(words, draft)

    def _take_counters(self, draft: Draft, counters: tuple[int, int] | None) -> None:
        """Take counters before the rule, which iptables-restore hands on as its -c."""
        if counters is None:
            return
        if "c" in draft.options:
            raise RulesetError(
                "multiple -c flags not allowed", Refusal.COMBINATION, column=draft.options["c"]
            )
        draft.options["c"] = 1
        draft.counters = counters

    def _execute_for_other_family(self, table: Table, draft: Draft) -> None:
        """Do what iptables still does with a line of the other family: all but rules.

        The rule itself is skipped because no address was read yet, not on purpose, so its target
        is looked for, and commands that need no address are carried out. iptables-nft stops
        reading at the -6, so only a command before it counts.
        """
        if draft.command in "AIRC" or (draft.command == "D" and draft.number is None):
            if not self._as_nft:
                resolve_jump(draft, table.chains, self._registry, self._family)
        elif draft.command:
            nft.make_chains(table, draft)
            self._execute(table, draft)

    def _counters(self, line: str) -> tuple[tuple[int, int] | None, str]:
        """Take `[packets:octets]` off the front (tokenize_rule_counters)."""
        if line[0] != "[":
            return None, line
        inside, bracket, body = line[1:].partition("]")
        packets, colon, octets = inside.partition(":")
        if not bracket or (colon and not (packets and octets)):
            raise RulesetError(f"Bad line {self._number}: need ]", Refusal.SYNTAX)
        if not colon:
            raise RulesetError(f"Bad line {self._number}: need :", Refusal.SYNTAX)
        if not self._counted:
            return None, body
        if "," in packets or octets[0] in "-!":
            raise RulesetError(
                "-c requires packet and byte counter; [12:3456] would do", Refusal.SYNTAX
            )
        return (counter(packets), counter(octets)), body

    def _execute(self, table: Table, draft: Draft) -> None:
        """Do what the command says."""
        check_command(draft)
        if self._as_nft and self._execute_as_nft(table, draft):
            return
        letter, name = draft.command, draft.chain
        if letter in "AIDRC":
            self._edit(table, draft)
        elif letter == "N":
            self._new_chain(table, name)
        elif letter == "P":
            tables.set_policy(table, name, draft.argument, draft.counters)
        elif letter == "F":
            tables.flush(table, name)
        elif letter == "X":
            tables.delete_chain(table, name, self._is_used)
        elif letter in "ZL":
            tables.look_for(table, name, draft.number)
        elif letter == "S":
            tables.list_rules(table, name, draft.number)
        elif letter == "E":
            tables.check_new_name(draft.argument)
            tables.rename_chain(table, name, draft.argument)
            for chain in table.chains.values():
                for place, rule in enumerate(chain.rules):
                    if rule.jump == name:
                        chain.rules[place] = renamed = copy(rule)
                        renamed.rename_jump(draft.argument)

    def _execute_as_nft(self, table: Table, draft: Draft) -> bool:
        """Carry out a command that iptables-nft takes otherwise; False for the others."""
        letter, name = draft.command, draft.chain
        if letter in "AINPF" and name:
            self._made.add(name)
        if letter == "P":
            nft.set_policy(table, name, draft.argument)
        elif letter == "F":
            nft.flush(table, name)
        elif letter == "Z":
            nft.zero(table, draft, self._made)
        elif letter == "X":
            nft.delete_chain(table, name, self._made)
        else:
            nft.refuse_command(table, draft)
            return False
        return True

    def _new_chain(self, table: Table, name: str) -> None:
        tables.check_new_name(name)
        tables.check_word(name)
        if self._registry.find_target(name, self._family) is not None:
            raise RulesetError("chain name may not clash with target name", Refusal.NAME)
        tables.add_chain(table, name, self._number)

    def _edit(self, table: Table, draft: Draft) -> None:
        tables.check_new_name(draft.chain)
        resolve_jump(draft, table.chains, self._registry, self._family)
        rules = make_rules(draft, self._place, self._number)
        chain = tables.need_chain(table, draft.chain, draft.chain_column)
        letter = draft.command
        if letter == "A":
            chain.rules += rules
        elif letter == "I":
            tables.insert(chain, draft.number, rules)
        elif letter == "R":
            tables.replace(chain, draft.number or 0, rules)
        elif letter == "D" and draft.number is not None:
            tables.delete_number(chain, draft.number)
        else:
            for rule in rules:
                found = tables.find_same(chain, rule)
                if letter == "D":
                    chain.rules.remove(found)
