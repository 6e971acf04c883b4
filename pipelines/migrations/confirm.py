"""The question before files are applied to a real database or taken back, on a terminal; without one, what destroys has
to be wished for."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.migrations.call import Call
from pipelines.migrations.files import Migration
from pipelines.table_move.errors import UsageProblem


def confirm(call: Call, verb: str, wanted: Sequence[Migration], *, destroys: bool = False) -> None:
    """Raises UsageProblem without a yes. destroys: rows may be lost, so that without a terminal --yes is needed.

    A loss is accepted for one file: who knows what 04 would lose has said nothing about 01.
    """
    names = ", ".join(migration.name for migration in wanted)
    if call.settings.accept_loss and len(wanted) > 1:
        raise UsageProblem(
            f"--accept-loss is said of one migration, and these are {len(wanted)}: {names}.",
            untouched="Nothing was written.",
            next_step="Take them back one at a time: `down` without --to takes the newest, and says what is lost.",
        )
    if not wanted or call.settings.yes:
        return
    if sys.stdin.isatty() and sys.stderr.isatty():
        if not call.console.ask(f"{verb} {names} in {call.database.label}?"):
            raise UsageProblem(
                "Not confirmed.", untouched="Nothing was written.", next_step="--yes skips the question."
            )
    elif destroys:
        raise UsageProblem(
            f"Without a terminal nobody can be asked whether to take back {names} in {call.database.label}.",
            untouched="Nothing was written.",
            next_step="Give --yes.",
        )
