"""Names the first difference between what the kernel did and what netemu did."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from msgspec import Struct

from netemu.livekernel.case import Case, InputFrame, Result
from netemu.livekernel.draws import Draws
from netemu.livekernel.first_numbers import Acknowledgements
from netemu.livekernel.frametext import describe_frame
from netemu.livekernel.masks import Masks
from netemu.livekernel.sets import first_set_difference

TIMEOUT_TOLERANCE_S = 1

Item = TypeVar("Item")


class Difference(Struct, frozen=True, kw_only=True):
    """The first thing that is not equal."""

    kind: str
    """`frames`, `log`, `rules`, `sets`, `conntrack`, `neigh` or `fdb`."""
    where: str
    """Device or namespace."""
    detail: str
    """Lines for people: what the kernel did, what netemu did."""

    def __str__(self) -> str:
        """Return several lines."""
        place = f" of {self.where}" if self.where else ""
        return f"{self.kind}{place} differ\n{self.detail}"


def masks_of(case: Case) -> Masks:
    """Return what is left out when results of `case` are compared."""
    listeners = [
        (socket.address, socket.port)
        for space in case.node.namespaces()
        for socket in space.sockets or []
        if socket.protocol == "tcp"
    ]
    tunnels = {
        link.vxlan.port
        for space in case.node.namespaces()
        for link in space.links
        if link.vxlan is not None
    }
    return Masks(input_frames(case), listeners, tunnels)


def input_frames(case: Case) -> list[bytes]:
    """Return all that enters as frames; a packet that the node sends gets an empty header."""
    return [
        item.frame if isinstance(item, InputFrame) else bytes(12) + b"\x08\x00" + item.packet
        for item in case.inputs
    ]


def differences(case: Case, kernel: Result, netemu: Result) -> Iterator[Difference]:
    """Yield what differs, one item per kind and place, the most telling kind first."""
    masks, others, draws = masks_of(case), masks_of(case), Draws(input_frames(case))
    yield from _frames(masks, others, draws, kernel, netemu)
    found = _first_unequal(*_log_lines(masks, others, draws, kernel, netemu), str)
    if found:
        yield Difference(kind="log", where="", detail=found)
    for where in kernel.rules:
        found = _first_unequal(
            kernel.rules[where].splitlines(), netemu.rules.get(where, "").splitlines(), str
        )
        if found:
            yield Difference(kind="rules", where=where, detail=found)
    for where, rows in kernel.sets.items():
        found = first_set_difference(
            rows, netemu.sets.get(where, []), _ipset_text(case, where), draws.element
        )
        if found:
            yield Difference(kind="sets", where=where, detail=found)
    for where, rows in kernel.conntrack.items():
        translated = [draws.text(row) for row in rows]
        found = _conntrack(draws, translated, netemu.conntrack.get(where, []))
        if found:
            yield Difference(kind="conntrack", where=where, detail=found)
    filters = any(
        link.bridge.get("vlan_filtering")
        for space in case.node.namespaces()
        for link in space.links
    )
    for kind, ours, theirs in (
        ("neigh", kernel.neighbours, netemu.neighbours),
        ("fdb", kernel.fdb, netemu.fdb),
        ("mdb", kernel.mdb, netemu.mdb),
    ):
        for where, rows in ours.items():
            mine = _rows(kind, rows, filters=filters)
            found = _unordered(mine, _rows(kind, theirs.get(where, []), filters=filters))
            if found:
                yield Difference(kind=kind, where=where, detail=found)


def _ipset_text(case: Case, namespace: str) -> str:
    """Return the text that the sets of a namespace were made from."""
    files = {space.name: space.ipset for space in case.node.namespaces()}
    file = files.get(namespace)
    return file.text if file is not None else ""


def first_difference(case: Case, kernel: Result, netemu: Result) -> Difference | None:
    """Return the first difference, None when all is equal."""
    return next(differences(case, kernel, netemu), None)


def _log_lines(
    masks: Masks, others: Masks, draws: Draws, kernel: Result, netemu: Result
) -> tuple[list[str], list[str]]:
    """Return both logs with what is random left out."""
    theirs = [others.log_line(line) for line in netemu.log]
    ours: list[str] = []
    for number, line in enumerate(kernel.log):
        masked = masks.log_line(line)
        translated = draws.text(masked)
        if number < len(theirs) and translated != theirs[number]:
            draws.learn_line(translated, theirs[number])
            translated = draws.text(masked)
        ours.append(translated)
    return ours, theirs


def _frames(
    masks: Masks, others: Masks, draws: Draws, kernel: Result, netemu: Result
) -> Iterator[Difference]:
    pairs: dict[str, tuple[list[bytes], list[bytes]]] = {}
    for port, sent in kernel.frames.items():
        ours = [masks.frame(item.frame) for item in sent]
        theirs = [others.frame(item.frame) for item in netemu.frames.get(port, [])]
        pairs[port] = (ours, theirs)
        for one, other in zip(ours, theirs, strict=False):
            draws.learn(one, other)
    for port, (ours, theirs) in pairs.items():
        found = _first_unequal([draws.translate(frame) for frame in ours], theirs, describe_frame)
        if found:
            yield Difference(kind="frames", where=port, detail=found)
    for port in netemu.frames.keys() - kernel.frames.keys():
        yield Difference(kind="frames", where=port, detail="netemu has this port, the kernel not")


def _first_unequal(
    kernel: Sequence[Item], netemu: Sequence[Item], show: Callable[[Item], str]
) -> str:
    """Say where two sequences part; "" when they are equal."""
    for number, (ours, theirs) in enumerate(zip(kernel, netemu, strict=False), 1):
        if ours != theirs:
            return (
                f"number {number} of {len(kernel)} (netemu: of {len(netemu)})\n"
                f"  kernel: {show(ours)}\n  netemu: {show(theirs)}"
            )
    if len(kernel) > len(netemu):
        missing = kernel[len(netemu)]
        return (
            f"number {len(netemu) + 1} of {len(kernel)}\n"
            f"  kernel: {show(missing)}\n  netemu: nothing more"
        )
    if len(netemu) > len(kernel):
        extra = netemu[len(kernel)]
        return (
            f"number {len(kernel) + 1}\n  kernel: nothing more\n"
            f"  netemu: {show(extra)} (of {len(netemu)})"
        )
    return ""


def _apart(kernel: Sequence[str], netemu: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what only one of two unordered lists has."""
    missing = list(kernel)
    extra: list[str] = []
    for row in netemu:
        if row in missing:
            missing.remove(row)
        else:
            extra.append(row)
    return missing, extra


def _said_apart(missing: Sequence[str], extra: Sequence[str]) -> str:
    return "\n".join(
        [f"  only kernel: {row}" for row in missing] + [f"  only netemu: {row}" for row in extra]
    )


def _unordered(kernel: Sequence[str], netemu: Sequence[str]) -> str:
    return _said_apart(*_apart(kernel, netemu))


_TIMEOUT = re.compile(r"^(\S+ +\d+ )(\d+) ")


def _split_row(row: str) -> tuple[str, int]:
    """Return a connection without its timeout, and that."""
    text = row.strip()
    found = _TIMEOUT.match(text)
    if not found:
        return text, 0
    return found[1] + text[found.end() :], int(found[2])


def _conntrack(draws: Draws, kernel: Sequence[str], netemu: Sequence[str]) -> str:
    ours = sorted(_split_row(row) for row in kernel if row.strip())
    theirs = sorted(_split_row(row) for row in netemu if row.strip())
    missing, extra = _apart([text for text, _ in ours], [text for text, _ in theirs])
    if missing or extra:
        # A packet that never left may have had a number drawn all the same.
        if len(missing) == len(extra) and all(map(draws.learn_row, missing, extra)):
            return ""
        return _said_apart(missing, extra)
    for (text, timeout_s), (_, other_s) in zip(ours, theirs, strict=True):
        if abs(timeout_s - other_s) > TIMEOUT_TOLERANCE_S:
            return f"timeout of {text}\n  kernel: {timeout_s}\n  netemu: {other_s}"
    return ""


def _rows(kind: str, rows: Sequence[str], *, filters: bool) -> list[str]:
    """Return rows that are comparable: the kernel's own multicast FDB entries are left out.

    So are entries of VLANs where no bridge `filters` them: nobody looks them up, and a kernel that
    was built without VLANs has none.
    """
    kept = [" ".join(row.split()) for row in rows if row.strip()]
    if kind == "fdb":
        kept = [row for row in kept if " master " in f"{row} " or " dst " in row]
        kept = [row for row in kept if filters or " vlan " not in row]
    return sorted(kept)


class Follower:
    """Makes the frames of a recorded run fit a second run, which may draw other numbers."""

    def __init__(self, case: Case, expected: Result | None) -> None:
        """Take the case and what its recorded run sent; None leaves the frames as they are."""
        self._masks = masks_of(case)
        self._others = masks_of(case)
        self._draws = Draws(input_frames(case))
        self._expected = expected
        self._acknowledgements = Acknowledgements(input_frames(case), expected or Result())
        self._count: dict[str, int] = {}

    def heard(self, frames: Iterable[tuple[str, bytes]]) -> None:
        """Pair frames that the second run sent with those of the first."""
        if self._expected is None:
            return
        for port, frame in frames:
            self._acknowledgements.heard(frame)
            number = self._count.get(port, 0)
            self._count[port] = number + 1
            recorded = self._expected.frames.get(port, [])
            if number < len(recorded):
                first = self._masks.frame(recorded[number].frame)
                self._draws.learn(first, self._others.frame(frame))

    def translate(self, frame: bytes) -> bytes:
        """Return an input frame as the second run needs it."""
        return self._acknowledgements.translate(self._draws.translate(frame))
