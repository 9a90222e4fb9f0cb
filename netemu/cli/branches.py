"""Every branch of a packet's chances, each from the same state of the node.

A branch runs in a forked child, which inherits the node as it stands and throws its changes away;
so a node with many rules is built once. Where there is no fork, the node is built anew.
"""

from __future__ import annotations

import gc
import os
import pickle
import warnings
from collections.abc import Callable, Sequence

from netemu.errors import InternalError
from netemu.sim.node import Node
from netemu.sim.probe import Branch, Entry, run_branch

Runner = Callable[[Sequence[int]], Branch]


def branch_runner(build: Callable[[], Node], entry: Entry) -> Runner:
    """Return what runs `entry` under a script of draws."""
    if not hasattr(os, "fork"):
        return lambda script: run_branch(build(), entry, script)
    node = build()
    gc.collect()
    gc.freeze()
    return lambda script: _forked(node, entry, script)


def _forked(node: Node, entry: Entry, script: Sequence[int]) -> Branch:
    """Run one branch in a child process; return what it found."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside a test runner's threads
        child = os.fork()
    if child == 0:
        _run_child(writing, lambda: run_branch(node, entry, script))
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    found: object = pickle.loads(data) if data else None  # noqa: S301 - our own child wrote it
    if not isinstance(found, Branch):
        raise InternalError(f"a branch failed: {found}")
    return found


def _run_child(writing: int, work: Callable[[], Branch]) -> None:
    """Write what `work` returns, or why it failed, and end without cleaning up."""
    code = 1
    try:
        try:
            found: object = work()
        except Exception as problem:  # noqa: BLE001 - the parent reports it
            found = f"{type(problem).__name__}: {problem}"
        with os.fdopen(writing, "wb") as stream:
            stream.write(pickle.dumps(found))
        code = 0
    finally:
        os._exit(code)
