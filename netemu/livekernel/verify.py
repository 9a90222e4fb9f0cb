"""Runs cases through netemu and the live kernel, and keeps what differs.

Theory of operation: a difference counts only when it comes back, with fresh namespaces and other
random draws on both sides. So neither a busy machine nor one number in 65536 raises an alarm.
What depends on chance beyond the masks is equal when one of a few seeds gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from netemu.errors import NetemuError
from netemu.livekernel.case import Case, InputFrame, LocalPacket, Result
from netemu.livekernel.compare import Difference, first_difference
from netemu.livekernel.emulator import emulate_case
from netemu.livekernel.files import save_case
from netemu.livekernel.generate.record import SETS_PERCENT, record_random
from netemu.livekernel.minimise import minimise
from netemu.livekernel.runner import run_case

REPETITIONS = 3
"""How often a difference must come back to count."""

MOST_RUNS = 10
"""Runs that other programs disturbed do not count, but somewhere it has to end."""

DRAWS = 4
"""How many seeds netemu gets to explain one run of the kernel: where two draws meet, for one, is a
matter of chance on both sides; and a timer may fire before or while the state is looked at."""

SEED_STEP = 81006
"""Between the seeds: from seed 0 on, first sequence numbers lie in both halves of their range. It
counts where nothing shows what a listener of the kernel chose."""

PHASE_NS = 1_300_000
"""Every seed begins at another place within a jiffy of 4 ms."""


HASTY_NS = 100_000
LONGEST_HASTY_NS = 900_000_000
"""Cases that last longer wait for timers, so their pauses matter."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of one case."""

    case: Case
    kernel: Result
    netemu: Result
    difference: Difference | None


def verify_case(
    case: Case, kernel: Result | None = None, *, answered: Result | None = None, seed: int = 0
) -> Outcome:
    """Run a case on both sides.

    `kernel` is the run that it was recorded from, if any; `answered` an earlier one, whose random
    draws the frames answer.
    """
    kernel = kernel or run_case(case, answered)
    answered = answered or kernel
    outcome = _against(case, kernel, seed)
    quiet = 0
    for _ in range(MOST_RUNS):
        quiet += not kernel.disturbed
        if outcome.difference is None or quiet == REPETITIONS:
            break
        kernel = run_case(case, answered)
        outcome = _against(case, kernel, seed)
    return outcome


def _against(case: Case, kernel: Result, seed: int) -> Outcome:
    """Compare one run of the kernel with netemu: some draw has to explain all that it did."""
    outcome = None
    case = _as_run(case, kernel)
    for number in range(DRAWS):
        netemu = _emulate(case, kernel, seed, number)
        difference = _compare(case, kernel, netemu)
        if outcome is None or difference is None:
            outcome = Outcome(case=case, kernel=kernel, netemu=netemu, difference=difference)
        if difference is None:
            break
    assert outcome is not None
    return outcome


def _as_run(case: Case, run: Result) -> Case:
    """Return the case with what really entered in a run, and the moments at which it did."""
    if not run.inputs:
        return case
    late_ns = run.inputs[-1].time_ns - case.inputs[-1].time_ns
    return replace(case, inputs=list(run.inputs), until_ns=max(0, case.until_ns - late_ns))


FAILED = "netemu fails: "


def _emulate(case: Case, kernel: Result, seed: int, number: int) -> Result:
    late_ns = kernel.waited_ns + (kernel.collecting_ns if number % 2 else 0)
    case = replace(case, until_ns=case.until_ns + late_ns)
    try:
        return emulate_case(
            case,
            kernel,
            seed=seed + number * SEED_STEP,
            phase_ns=number * PHASE_NS,
            idle=number >= DRAWS // 2,
        )
    except Exception as error:  # noqa: BLE001 - a failure of netemu is what is looked for
        kind = "" if isinstance(error, NetemuError) else f"{type(error).__name__}: "
        return Result(log=[f"{FAILED}{kind}{error}"])


def _compare(case: Case, kernel: Result, netemu: Result) -> Difference | None:
    if netemu.log and netemu.log[0].startswith(FAILED):
        return Difference(kind="failure", where="", detail=f"  {netemu.log[0]}")
    return first_difference(case, kernel, netemu)


def verify_random(
    count: int, seed: int = 0, *, sets_percent: int = SETS_PERCENT
) -> Iterator[Outcome]:
    """Verify `count` random cases, of the seeds from `seed` on."""
    for number in range(seed, seed + count):
        case, kernel = record_random(number, sets_percent=sets_percent)
        yield verify_case(case, kernel)


def smaller(outcome: Outcome, *, progress: Callable[[Case], None] | None = None) -> Outcome:
    """Return a small case that still differs in the same kind of thing."""
    assert outcome.difference is not None
    kind = outcome.difference.kind

    def differs(case: Case) -> bool:
        try:
            kernel = run_case(case, outcome.kernel)
        except NetemuError:
            return False
        difference = _against(case, kernel, 0).difference
        if difference is None or difference.kind != kind:
            return False
        if progress is not None:
            progress(case)
        return True

    hasty = _without_pauses(outcome.case)
    case = minimise(hasty if differs(hasty) else outcome.case, differs)
    return verify_case(case, answered=outcome.kernel)


def _without_pauses(case: Case) -> Case:
    """Return the case with its inputs close together, so that runs take no time."""
    if case.inputs and case.inputs[-1].time_ns > LONGEST_HASTY_NS:
        return case
    inputs: list[InputFrame | LocalPacket] = []
    for number, item in enumerate(case.inputs):
        inputs.append(replace(item, time_ns=number * HASTY_NS))
    return replace(case, inputs=inputs)


def keep(outcome: Outcome, directory: Path) -> None:
    """Write a case that differs, with both results and the difference."""
    case, kernel = outcome.case, outcome.kernel
    case = replace(case, until_ns=case.until_ns + kernel.waited_ns)
    save_case(case, directory, kernel=kernel, netemu=outcome.netemu)
    (directory / "difference.txt").write_text(f"{outcome.difference}\n")
