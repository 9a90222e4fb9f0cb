"""Rules, chains and extensions said in words, from their declarations.

Kernel: none.

What an option of a rule means is its declaration's `says`, else its `help`; a default that the rule
does not write is left out. Nothing here knows an extension by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.addresses import show_network
from netemu.netfilter.xtables.kit import ABSENT, Extension, Given, Match, Option, Settings
from netemu.netfilter.xtables.model import (
    BoundMatch,
    BoundTarget,
    Chain,
    Generic,
    Invert,
    Rule,
    Table,
)
from netemu.netfilter.xtables.names import protocol_name
from netemu.ruleset.commit import jumps_of, reaching_hooks

FAMILY_NAMES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}

_NO_COLUMN = 0
_WORTH_TELLING = ("Theory of operation:", "Differs from Linux")


# -- extensions ----------------------------------------------------------------------------------


def extension_lines(extension: Extension, module: ModuleType | None = None) -> Iterator[str]:
    """Yield a page about one match or target; `module` is the file that declares it."""
    kind, flag = ("match", "-m") if isinstance(extension, Match) else ("target", "-j")
    families = " and ".join(FAMILY_NAMES[family] for family in extension.families)
    yield f"{flag} {extension.name}   {kind}, {families}, {extension.kernel}"
    yield f"  {extension.duty}"
    yield from _places(extension)
    if extension.options:
        yield ""
    heads = [_option_head(option) for option in extension.options]
    width = max((len(head) for head in heads if len(head) <= _WIDE), default=0)
    for option, head in zip(extension.options, heads, strict=True):
        about = " ".join(_about(option))
        if len(head) > width:
            yield f"  {head}"
            head = ""
        yield f"  {head:{width}}  {about}".rstrip()
    for paragraph in _paragraphs(module.__doc__ or "" if module is not None else ""):
        yield ""
        yield f"  {paragraph}"


_WIDE = 44
"""An option longer than this has a line of its own."""


def _places(extension: Extension) -> Iterator[str]:
    if extension.tables:
        yield f"  Only in table {', '.join(extension.tables)}."
    if extension.hooks:
        yield f"  Only from {', '.join(hook.name for hook in extension.hooks)}."
    if extension.protocols:
        names = " or ".join(protocol_name(number) for number in extension.protocols)
        yield f"  Only with -p {names}."


def _option_head(option: Option) -> str:
    bang = "[!] " if option.invertible else "    "
    names = ", ".join(f"--{name}" for name in (option.name, *option.aliases))
    return f"{bang}{names} {option.kind.form}".rstrip()


def _about(option: Option) -> Iterator[str]:
    yield option.help
    if option.mandatory:
        yield "Must be given."
    if option.multiple:
        yield "May be repeated."
    if option.into:
        yield f"Printed as --{option.into}."
    if option.excludes:
        yield f"Not with {_listed(option.excludes)}."
    if option.requires:
        yield f"Needs {_listed(option.requires)}."
    if option.default is not ABSENT:
        yield f"{option.kind.show(option.default)} unless given."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"--{name}" for name in names)


def _paragraphs(document: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", document):
        text = " ".join(paragraph.split())
        if text.startswith(_WORTH_TELLING):
            told = text.removeprefix("Theory of operation: ")
            yield told[:1].upper() + told[1:]


# -- rules ---------------------------------------------------------------------------------------


def rule_lines(table: Table, chain: Chain, rule: Rule) -> Iterator[str]:
    """Yield what one rule does, in words."""
    number = chain.rules.index(rule) + 1
    yield f"table {table.name}, chain {chain.name}, rule {number} of {len(chain.rules)}"
    yield f"  -A {chain.name} {rule.text}".rstrip()
    yield f"  {_reached(table, chain)}"
    conditions = [*_generic_conditions(rule.generic), *_match_conditions(rule.matches)]
    yield ""
    if not conditions:
        yield "  Every packet:"
    else:
        yield "  A packet of which all of this is true:"
        yield from (f"    - {condition}" for condition in conditions)
    yield from (f"  => {line}" for line in _outcome(table, rule))
    yield f"  {_otherwise(chain, number)}"


def chain_lines(table: Table, chain: Chain) -> Iterator[str]:
    """Yield where a chain stands: what leads to it and what ends it."""
    yield f"table {table.name}, chain {chain.name}, {_count(len(chain.rules), 'rule')}"
    yield f"  {_reached(table, chain)}"
    for other in table.chains.values():
        for number, rule in enumerate(other.rules, start=1):
            if rule.jump == chain.name:
                word = "goes on" if rule.goto else "jumps"
                yield f"  rule {number} of {other.name}{_at(rule)} {word} here"
    yield f"  {_end(chain)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _at(rule: Rule) -> str:
    return f" (line {rule.line})" if rule.line else ""


def _reached(table: Table, chain: Chain) -> str:
    hooks = reaching_hooks(table, jumps_of(table), lambda *_: _NO_COLUMN).get(chain.name)
    if not hooks:
        return "No packet gets to this chain."
    return f"Packets come here from {', '.join(hook.name for hook in sorted(hooks))}."


_NEGATED = {False: "is", True: "is not"}


def _generic_conditions(generic: Generic) -> Iterator[str]:
    def verb(flag: Invert) -> str:
        return _NEGATED[bool(generic.invert & flag)]

    if generic.source_mask:
        network = show_network(generic.source, generic.source_mask)
        yield f"its source {verb(Invert.SRCIP)} in {network}"
    if generic.destination_mask:
        network = show_network(generic.destination, generic.destination_mask)
        yield f"its destination {verb(Invert.DSTIP)} in {network}"
    if generic.in_device not in {"", "+"}:
        yield f"the device it came in by {verb(Invert.VIA_IN)} {_device(generic.in_device)}"
    if generic.out_device not in {"", "+"}:
        yield f"the device it leaves by {verb(Invert.VIA_OUT)} {_device(generic.out_device)}"
    if generic.protocol:
        yield f"its protocol {verb(Invert.PROTO)} {protocol_name(generic.protocol)}"
    if generic.fragment:
        yield f"it {verb(Invert.FRAG)} a fragment behind the first"


def _device(name: str) -> str:
    return f"one whose name begins with {name[:-1]}" if name.endswith("+") else name


def _match_conditions(matches: Iterable[BoundMatch]) -> Iterator[str]:
    for match in matches:
        said = list(_said(match))
        if said:
            yield f"{match.name}: {'; '.join(said)}"
        elif isinstance(match.declaration, Extension) and not match.declaration.protocols:
            yield f"{match.name}: {_small(match.declaration.duty)}"


def _small(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def _said(bound: BoundMatch | BoundTarget) -> Iterator[str]:
    """Yield what each option of an extension says, in the order of the declaration."""
    settings = bound.given
    if not isinstance(settings, Settings) or not isinstance(bound.declaration, Extension):
        return
    used = {given.option.name for given in settings.order}
    for option in bound.declaration.options:
        spelt = {other.name for other in bound.declaration.options if other.into == option.name}
        if option.into or not used & {option.name, *spelt}:
            continue
        uses = settings.all(option.name) if option.multiple else [settings.given.get(option.name)]
        for given in uses:
            if given is not None:
                yield say_option(given)


def say_option(given: Given) -> str:
    """Return an option of a rule in words."""
    option = given.option
    value = option.kind.show(given.value) if option.kind.arity else ""
    if not option.says:
        bang = "! " if given.inverted else ""
        return f"{bang}--{option.name} {value}".rstrip() + f" ({_small(option.help)})"
    first, _, second = value.replace("/", " ", 1).partition(" ")
    text = option.says.format(
        value=value, first=first, second=second, **{"is": _NEGATED[given.inverted]}
    )
    negated = given.inverted and "{is}" not in option.says
    return f"it is not so that {text}" if negated else text


_ENDS: Mapping[Verdict | None, str] = {
    Verdict.ACCEPT: "is accepted: this table is done with it",
    Verdict.DROP: "is dropped",
    Verdict.QUEUE: "goes to the program on queue 0",
}


def _outcome(table: Table, rule: Rule) -> Iterator[str]:
    target = rule.target
    if rule.jump:
        chain = table.chains[rule.jump]
        where = f"chain {chain.name} ({_count(len(chain.rules), 'rule')})"
        if rule.goto:
            yield f"goes on in {where}, and does not come back here"
        else:
            yield f"goes through {where}, and comes back here if nothing there decides"
    elif target is None:
        yield "is counted, and goes on with the next rule"
    elif target.standard in _ENDS:
        yield _ENDS[target.standard]
    else:
        assert isinstance(target.declaration, Extension)
        yield "; ".join([f"{target.name}: {_small(target.declaration.duty)}", *_said(target)])


def _otherwise(chain: Chain, number: int) -> str:
    if number < len(chain.rules):
        following = chain.rules[number]
        return f"Any other goes on with rule {number + 1}{_at(following)}."
    return _end(chain)


def _end(chain: Chain) -> str:
    if chain.policy is None:
        return "What gets to the end of the chain goes back to where it came from."
    return f"What gets to the end of the chain meets the policy {chain.policy.name}."
