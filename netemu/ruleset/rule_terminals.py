"""The terminals of `rule.lark` as Lark compiles them, by tools/grammars.py.

Kernel: none.
"""

# fmt: off
TERMINALS = {
    "BANG": "!(?=[ \t\n]|\\Z)",
    "BLANK": "[ \t\n]+",
    "COLON": ":",
    "COUNTERS": "\\[[^\\]\n]*:[^\\]\n]*\\]",
    "FIELD": "[^ \t\n]+",
    "OPTION": "-[^ \t\n\"]*(?=[ \t\n]|\\Z)",
    "STAR": "\\*",
    "WORD": "(?s:[^ \t\n\"]*\"(?:[^\"\\\\]|\\\\.)*(?:\"|\\\\?\\Z)|[^ \t\n\"]+)",
}
"""Terminal -> regular expression."""
