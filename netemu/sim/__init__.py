"""Whole nodes: namespaces wired together, and captures fed through them.

`spec.py` says what a node is made of, `node.py` builds it, `replay.py` feeds it frames and
compares what comes out.
"""
