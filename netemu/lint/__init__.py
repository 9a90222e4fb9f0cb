"""Findings about rule files and nodes: each from one declared rule, each with its proof.

Kernel: none.

Theory of operation: a `Subject` is one rule file as it stands (its lines, what was read of it, the
lines that would not load) and the node that it is on. Every `LintRule` of `codes.RULES` looks at
it and yields findings; `engine` leaves out rules that are not selected or whose needs the subject
lacks, findings that a comment in the file suppresses, and stylistic ones inside chains that a
program owns.

A file is read to its end whatever would not load, and each such line is a finding NE0xx. What needs
the rule set as a whole then waits until the file would load: a verdict about rules that no kernel
would ever hold proves nothing.

Decision: one file per rule, whose docstring is the rule's page: `netemu explain NE011` prints it,
and its Example is run as a test. The price is many small modules, which cost some milliseconds to
import.
"""
