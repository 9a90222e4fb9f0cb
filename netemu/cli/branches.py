"""Work on a copy of the node: what it changes is thrown away.

A forked child inherits the node as it stands, so nothing needs to be built or undone. Where there
is no fork, branches of a packet's chances are run on a node built anew for each.
"""

from __future__ import annotations

import gc
import os
import pickle
import warnings
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from netemu.errors import InternalError
from netemu.sim.node import Node
from netemu.sim.probe import Branch, Entry, run_branch

Runner = Callable[[Sequence[int]], Branch]
Result = TypeVar("Result")


def can_fork() -> bool:
    """Tell whether this system has fork."""
    return hasattr(os, "fork")


def branch_runner(build: Callable[[], Node], entry: Entry) -> Runner:
    """Return what runs `entry` under a script of draws, each time from the same state."""
    if not can_fork():
        return lambda script: run_branch(build(), entry, script)
    node = build()
    gc.collect()
    gc.freeze()
    return lambda script: in_child(lambda: run_branch(node, entry, script))


class _Done(Generic[Result]):
    """Marks a result that the child came to, apart from a failure's text."""

    def __init__(self, value: Result) -> None:
        self.value = value


def in_child(work: Callable[[], Result]) -> Result:
    """Run `work` in a forked child and return its result, which must be picklable.

    Raises InternalError when it fails there.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside a test runner's threads
        child = os.fork()
    if child == 0:
        _run_child(writing, work)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    found: object = pickle.loads(data) if data else "it died"  # noqa: S301 - our own child's
    if not isinstance(found, _Done):
        raise InternalError(f"work on a copy of the node failed: {found}")
    value: Result = found.value
    return value


def _run_child(writing: int, work: Callable[[], object]) -> None:
    """Write what `work` returns, or why it failed, and end without cleaning up."""
    code = 1
    try:
        try:
            found: object = _Done(work())
        except Exception as problem:  # noqa: BLE001 - the parent reports it
            found = f"{type(problem).__name__}: {problem}"
        with os.fdopen(writing, "wb") as stream:
            stream.write(pickle.dumps(found))
        code = 0
    finally:
        os._exit(code)
