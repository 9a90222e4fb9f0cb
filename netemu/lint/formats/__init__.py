"""Reports of a lint run, one format per file: `render(report)` returns the text.

Kernel: none.
"""
