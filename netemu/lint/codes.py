"""Every lint rule, by its code: the one table.

Kernel: none.
"""

from __future__ import annotations

from netemu.lint.rule import LintRule
from netemu.lint.rules import (
    ne001_syntax_error,
    ne002_unknown_extension,
    ne003_unknown_option,
    ne004_bad_value,
    ne005_bad_combination,
    ne006_missing_table,
    ne007_missing_chain,
    ne008_missing_target,
    ne009_duplicate_chain,
    ne010_bad_chain_name,
    ne011_bad_policy,
    ne012_misplaced_extension,
    ne013_jump_loop,
    ne014_missing_commit,
    ne015_trailing_comment,
    ne016_refused_command,
)

MODULES = (
    ne001_syntax_error,
    ne002_unknown_extension,
    ne003_unknown_option,
    ne004_bad_value,
    ne005_bad_combination,
    ne006_missing_table,
    ne007_missing_chain,
    ne008_missing_target,
    ne009_duplicate_chain,
    ne010_bad_chain_name,
    ne011_bad_policy,
    ne012_misplaced_extension,
    ne013_jump_loop,
    ne014_missing_commit,
    ne015_trailing_comment,
    ne016_refused_command,
)
"""One module per rule; its docstring is the rule's page."""

RULES: tuple[LintRule, ...] = tuple(module.RULE for module in MODULES)

BY_CODE = {rule.code: rule for rule in RULES}
