"""The command line of one move."""

from __future__ import annotations

import typer

from pipelines.table_move.cli import demo as demo_verb
from pipelines.table_move.cli import plan, purge, report, rollback, run, status, verify
from pipelines.table_move.cli.demonstration import Demo
from pipelines.table_move.cli.grammar import Verbs
from pipelines.table_move.cli.streams import never_refuse
from pipelines.table_move.errors import EXIT_CODES
from pipelines.table_move.spec import Move


def make_app(move: Move, demo: Demo | None = None) -> typer.Typer:
    """All verbs of a move. Importing it costs neither pandas nor Great Expectations; a verb imports what it needs.

    demo: the demonstration; without one there is no verb `demo`, and every verb needs a database URL.
    """
    never_refuse()
    codes = "\n\n".join(f"{code}  {meaning}" for code, meaning in EXIT_CODES.items())
    app = typer.Typer(
        name=move.name,
        cls=Verbs,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help=(
            f"Move {move.source.table} to {move.target.table}: every row, every reference, nothing lost.\n\n"
            "Begin with `plan`, which writes nothing. Every option can be set as PIPELINES_… in the environment.\n\n"
            f"Exit codes:\n\n{codes}"
        ),
    )
    for verb in (plan, run, status, verify, report, rollback, purge):
        verb.add(app, move, demo)
    if demo is not None:
        demo_verb.add(app, move, demo)
    return app
