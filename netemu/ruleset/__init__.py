"""iptables-save text: grammar, reading as iptables-restore reads, the kernel's checks, printing.

Kernel: none; iptables-restore and iptables-save of iptables 1.8.9 (iptables-restore.c, xshared.c,
libiptc) and translate_table of net/ipv4/netfilter/ip_tables.c.

A file goes through three steps. `words.py` splits a line (`rule.lark`); `rule.py` lets the options
known so far claim the words, since what a word means depends on the extensions before it;
`commit.py` tests what the kernel tests when the table is complete: undefined chains, loops, and
whether each extension may stand in the table, hooks and protocol that reach it. A line that would
not load is an error with its place, never skipped.

Decision: two steps and not one grammar. Options belong to extensions, may be abbreviated and stand
in any order, and a value may look like an option, so a single grammar would have to contain every
extension and still guess. The price: the grammar alone does not say what is a rule.

Decision: lines of a shape met before take `shapes.py`, which calls the same value kinds and checks
in the same order but splits without the grammar; whatever does not fit there is read again the
slow way, which alone makes error messages.
"""

from netemu.ruleset.printer import print_chain, print_rule, print_ruleset, print_table
from netemu.ruleset.reader import parse_ruleset

__all__ = ["parse_ruleset", "print_chain", "print_rule", "print_ruleset", "print_table"]
