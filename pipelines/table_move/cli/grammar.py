"""Calls that cannot be understood, in our words: what was typed may be a URL with a password in the wrong place."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from typer import Abort
from typer._click.exceptions import (
    BadOptionUsage,
    BadParameter,
    ClickException,
    NoArgsIsHelpError,
    NoSuchOption,
)
from typer.core import TyperGroup

from pipelines.table_move.errors import UsageProblem

_OPTION = re.compile(r"--?[A-Za-z][A-Za-z-]*")


class Verbs(TyperGroup):
    """The verbs of a command line. A call that cannot be understood ends like any other: one answer, exit code 2."""

    def main(self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **more: Any) -> Any:
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **more)
        given = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(given, standalone_mode=False, **more)
        except NoArgsIsHelpError as wanted:
            wanted.show()
            code = wanted.exit_code
        except Abort:
            code = 1
        except ClickException as problem:
            code = _told(misunderstood(problem), given)
        sys.exit(code)


def misunderstood(problem: ClickException) -> UsageProblem:
    """The error of the command line's parser without what it could not read."""
    happened = "The call has a word too many, or one that is no verb."
    if isinstance(problem, NoSuchOption | BadOptionUsage):
        known = _OPTION.fullmatch(problem.option_name)
        what = "There is no such option" if isinstance(problem, NoSuchOption) else "A value is missing, or too many"
        happened = f"{what}: {problem.option_name}." if known else f"{what}."
    elif isinstance(problem, BadParameter) and problem.param is not None:
        happened = f"{problem.param.opts[-1]} is missing or cannot be read."
    return UsageProblem(
        happened,
        untouched="Nothing was read or written.",
        next_step="--help shows the verbs, VERB --help its options and how they are written.",
    )


def _told(problem: UsageProblem, given: Sequence[str]) -> int:
    from pipelines.table_move.console import Console
    from pipelines.table_move.settings import Manner

    formats = [word for option, word in pairwise(given) if option == "--log-format"]
    formats += [word.partition("=")[2] for word in given if word.startswith("--log-format=")]
    manner = Manner.read(as_json="--json" in given or None, log_format=formats[-1] if formats else None)
    console = Console(as_json=manner.as_json, log_format=manner.log_format)
    console.problem(problem)
    console.answer({"error": problem.happened})
    return problem.exit_code
