"""What lint rules look at: one rule file with everything that is known about it.

Kernel: none.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from msgspec.structs import replace

from netemu.errors import RulesetError
from netemu.lint.finding import Finding, Fix, Related, Span, Witness
from netemu.lint.kube_view import KubeView
from netemu.lint.owners import owner_of, writer_of
from netemu.lint.suppression import Suppression
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.model import Chain, Rule, Ruleset, Table
from netemu.ruleset.reader import parse_ruleset
from netemu.ruleset.words import Word, placed_words
from netemu.sim.spec import NodeSpec
from netemu.snapshot.no_entries import NO_ENTRIES, empty_sets, names_sets

if TYPE_CHECKING:
    from netemu.lint.dead import Dead
    from netemu.lint.witness import Prover

_COUNTERS = re.compile(r"\[\d+:\d+\] ")
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"?|\S+')


class Site(NamedTuple):
    """A rule and where it stands."""

    table: Table
    chain: Chain
    number: int
    """In its chain, from 1."""
    rule: Rule


MakeNode: TypeAlias = Callable[["Subject"], NodeSpec]
"""Makes the node that a rule file is on."""


class Subject:
    """One rule file, and the node that it is on."""

    def __init__(
        self,
        text: str,
        file: str,
        *,
        family: Family = Family.IPV4,
        backend: str = "legacy",
        make_node: MakeNode | None = None,
        is_snapshot: bool = False,
    ) -> None:
        """Keep what is known; the text is read when somebody asks."""
        self.text = text
        self.file = file
        """Its name in messages."""
        self.family = family
        self.backend = backend
        """`legacy` or `nft`: the tool that loads it."""
        self._make_node = make_node
        self.is_snapshot = is_snapshot
        """`node` is a real one, not an assumption."""
        self.path = ""
        """Where the text was read, if it may be written there."""
        self.trace_node = file
        """How a command names its node."""
        self.namespace = ""
        """Of the node, if it is not the main one."""
        self.trace_words: tuple[str, ...] = ()
        """What `netemu trace` must be told besides the node to read it alike."""
        self.backends: tuple[str, ...] = ()
        """Of a snapshot: the backends that hold rules."""
        self.native_tables: tuple[str, ...] = ()
        """Of a snapshot: nftables' own tables that act on packets."""
        self.siblings: tuple[Subject, ...] = (self,)
        """Every rule file of the node, this one included."""
        self.partner: Subject | None = None
        """The rule file of the other family in the same namespace, if it is known."""
        self.objects: object | None = None
        """Kubernetes objects that the node's rules come from, where given."""
        self.suppressions: list[Suppression] = []
        """Comments that suppress findings, once the other rules have run."""
        self.judged: frozenset[str] = frozenset()
        """Codes of the rules that ran."""
        self.known: frozenset[str] = frozenset()
        """Codes of all rules."""
        self.tells_owned = False
        """Whether stylistic findings inside chains that a program owns are told."""
        self.refusals: list[RulesetError] = []
        """Lines that would not load; filled when `ruleset` is read."""

    def rewritten(self, text: str) -> Subject:
        """Return the same file with another text."""
        other = Subject(
            text,
            self.file,
            family=self.family,
            backend=self.backend,
            make_node=self._make_node,
            is_snapshot=self.is_snapshot,
        )
        other.path = self.path
        other.trace_words = self.trace_words
        other.trace_node, other.namespace = self.trace_node, self.namespace
        other.objects = self.objects
        other.partner = self.partner
        return other

    @functools.cached_property
    def node(self) -> NodeSpec | None:
        """The node; for a rule file the bare one that is assumed, None if nobody can make one."""
        return None if self._make_node is None else self._make_node(self)

    @functools.cached_property
    def lines(self) -> list[str]:
        """The lines of the file; line 1 is `lines[0]`."""
        return self.text.split("\n")

    @functools.cached_property
    def ruleset(self) -> Ruleset:
        """What would load of it."""
        return parse_ruleset(
            self.text, self.file, family=self.family, backend=self.backend, refusals=self.refusals
        )

    @functools.cached_property
    def kube(self) -> KubeView:
        """The file as Services see it."""
        return KubeView(self.ruleset, lambda: self.node, self.trace_node, self.trace_words)

    @functools.cached_property
    def prover(self) -> Prover:
        """The analysis of all packets, and the engine to try examples on."""
        from netemu.lint.witness import Prover, TraceCall  # noqa: PLC0415 - the analysis and the engine

        call = TraceCall(node=self.trace_node, namespace=self.namespace, words=self.trace_words)
        if not self.is_snapshot and "--ipset" not in call.words and names_sets(self.text):
            call = replace(call, words=(*call.words, "--ipset", NO_ENTRIES))
        return Prover(self.ruleset, call, self._proving_node, bare=not self.is_snapshot)

    def _proving_node(self) -> NodeSpec | None:
        """Return the node, with the sets that its rules name if nobody has said which there are."""
        node = self.node
        if node is None or self.is_snapshot or node.main.ipset is not None:
            return node
        if not names_sets(self.text):
            return node
        family = 6 if self.family == Family.IPV6 else 4
        return replace(node, main=replace(node.main, ipset=empty_sets(self.text, family)))

    @functools.cached_property
    def dead(self) -> list[Dead]:
        """The rules that no packet can match."""
        from netemu.lint.dead import dead_rules  # noqa: PLC0415 - as above

        return list(dead_rules(self.prover.reach))

    @property
    def loads(self) -> bool:
        """Whether the whole file would load."""
        _ = self.ruleset
        return not self.refusals

    @functools.cached_property
    def sites(self) -> Sequence[Site]:
        """Every rule, in the order of tables and chains."""
        return [
            Site(table, chain, number, rule)
            for table in self.ruleset.tables
            for chain in table.chains.values()
            for number, rule in enumerate(chain.rules, start=1)
        ]

    @functools.cached_property
    def _by_line(self) -> dict[int, Site]:
        return {site.rule.line: site for site in reversed(self.sites) if site.rule.line}

    def site_at(self, line: int) -> Site | None:
        """Return the rule of a line, the first if the line makes several."""
        return self._by_line.get(line)

    def table(self, name: str) -> Table | None:
        """Return a table by its name."""
        return next((table for table in self.ruleset.tables if table.name == name), None)

    def owner(self, chain: str) -> str:
        """Return the program that owns a chain, or an empty string."""
        return owner_of(chain)

    def spares(self, chain: str) -> bool:
        """Return whether stylistic findings inside a chain are not told: no need to look."""
        return not self.tells_owned and bool(self.owner(chain))

    def spares_rule(self, line: int) -> bool:
        """Return whether stylistic findings about a line are not told: a program writes it."""
        return not self.tells_owned and bool(writer_of(_COUNTERS.sub("", self.lines[line - 1])))

    def words(self, line: int) -> list[Word]:
        """Return the words of a rule's line, without counters, with their columns."""
        return placed_words(self.lines[line - 1])

    # -- places ----------------------------------------------------------------------------------

    def line_span(self, line: int) -> Span:
        """Return the whole of a line."""
        return Span(line=line, end_line=line, end_column=len(self.lines[line - 1]) + 1)

    def rule_span(self, rule: Rule) -> Span | None:
        """Return the line of a rule."""
        return None if rule.line is None else self.line_span(rule.line)

    def word_span(self, line: int, column: int) -> Span:
        """Return the word that begins at a column, quotes included."""
        if line > len(self.lines):
            return Span(line=line, end_line=line, end_column=1)
        found = _WORD.match(self.lines[line - 1], column - 1)
        end = found.end() if found is not None else len(self.lines[line - 1])
        return Span(line=line, column=column, end_line=line, end_column=max(end, column) + 1)

    def option_span(self, rule: Rule, *options: str) -> Span | None:
        """Return the first of these options in a rule's line with the value behind it."""
        if rule.line is None:
            return None
        words = self.words(rule.line)
        for word, following in zip(words, [*words[1:], None], strict=True):
            if word.text in options:
                first = self.word_span(rule.line, word.column)
                last = first
                if following is not None:
                    last = self.word_span(rule.line, following.column)
                return Span(
                    line=rule.line,
                    column=first.column,
                    end_line=rule.line,
                    end_column=last.end_column,
                )
        return self.rule_span(rule)

    def related(self, rule: Rule, message: str = "") -> tuple[Related, ...]:
        """Return another rule as a related place."""
        span = self.rule_span(rule)
        return () if span is None else (Related(file=self.file, span=span, message=message),)

    # -- findings --------------------------------------------------------------------------------

    def about(
        self,
        site: Site,
        message: str,
        *,
        span: Span | None = None,
        witness: Witness | None = None,
        related: tuple[Related, ...] = (),
        fix: Fix | None = None,
    ) -> Finding:
        """Make a finding about a rule; `span` is the part of its line, by default the whole."""
        return Finding(
            message=message,
            span=span or self.rule_span(site.rule),
            table=site.table.name,
            chain=site.chain.name,
            rule=site.number,
            witness=witness,
            related=related,
            fix=fix,
        )

    def about_chain(
        self,
        table: Table,
        chain: Chain,
        message: str,
        *,
        witness: Witness | None = None,
        related: tuple[Related, ...] = (),
        fix: Fix | None = None,
    ) -> Finding:
        """Make a finding about a chain, at the line that declares it."""
        return Finding(
            message=message,
            span=None if chain.line is None else self.line_span(chain.line),
            table=table.name,
            chain=chain.name,
            witness=witness,
            related=related,
            fix=fix,
        )
