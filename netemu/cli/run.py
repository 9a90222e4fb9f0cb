"""Runs a command line: errors become one message and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys

import click

from netemu.errors import InternalError, NetemuError, UsageError

BROKEN_PIPE = 141
"""What a shell shows for a program that SIGPIPE ended."""
INTERRUPTED = 130
INTERNAL = 4
UNREADABLE = 3


def run(cli: click.Command, arguments: list[str]) -> int:
    """Run `cli` with `arguments`; return the exit code."""
    try:
        # Not cli.main(): that one ends a broken pipe with 1, the code of a difference.
        with cli.make_context("netemu", list(arguments)) as context:
            result = cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.FileError as problem:
        return _say(f"{problem.ui_filename}: {problem.message}", UNREADABLE)
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code
    except InternalError as problem:
        return report_internal(problem, arguments)
    except UsageError as problem:
        return _say(f"netemu: {problem}", problem.exit_code)
    except NetemuError as problem:
        return _say(str(problem), problem.exit_code)
    except BrokenPipeError:
        _close_quietly()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as problem:
        name = f"{problem.filename}: " if problem.filename else ""
        return _say(f"{name}{problem.strerror or problem}", UNREADABLE)
    except Exception as problem:  # noqa: BLE001 - whatever it is, the user gets a report
        return report_internal(problem, arguments)
    return result if isinstance(result, int) else 0


def _say(message: str, code: int) -> int:
    try:
        print(message, file=sys.stderr, flush=True)  # noqa: T201 - this is the command line
    except BrokenPipeError:
        _close_quietly()
    return code


def _close_quietly() -> None:
    """Point standard output at nothing, so that the interpreter's own flush says nothing."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())


def report_internal(problem: BaseException, arguments: list[str]) -> int:
    """Save what reproduces a failure of netemu itself, and ask for a report."""
    from netemu.cli.report import save_report

    path = save_report(problem, arguments)
    what = f"{type(problem).__name__}: {problem}".rstrip(": ")
    where = f"the report with the input that reproduces it is {path}" if path else "no report saved"
    return _say(
        f"netemu: internal error, {what}\nThis is a fault of netemu; please report it: {where}",
        INTERNAL,
    )
