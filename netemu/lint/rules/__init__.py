"""Lint rules, one file each; `netemu.lint.codes` lists them."""
