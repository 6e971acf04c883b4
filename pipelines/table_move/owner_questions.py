"""What a person has to say, or has said, about owners: the default one, the file, and who is still missing."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote

from psycopg2 import extensions

from pipelines.table_move.database import census
from pipelines.table_move.database.catalog import Located
from pipelines.table_move.database.census import Question
from pipelines.table_move.errors import Blocker, UsageProblem
from pipelines.table_move.pure.command_line import CommandLine
from pipelines.table_move.pure.owners_file import parse_owners
from pipelines.table_move.pure.preflight import no_owner
from pipelines.table_move.records import MoveRow
from pipelines.table_move.settings import Settings
from pipelines.table_move.spec import Move


def owners_file(move: Move, settings: Settings) -> Mapping[str, str] | None:
    """The owners that a person names in this call. Raises UsageProblem for a file that cannot be used."""
    if settings.owners is None:
        return None
    if move.target.owner is None:
        raise _without_tenants(move, "--owners")
    try:
        text = settings.owners.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageProblem(
            f"The file of owners {settings.owners} cannot be read: {problem}.",
            untouched="Nothing was written.",
            next_step="Give a readable file in UTF-8.",
        ) from None
    return parse_owners(text, owner_column=move.target.owner)


def default_owner(
    cursor: extensions.cursor, located: Located, row: MoveRow | None, given: str | None
) -> tuple[str | None, list[Blocker]]:
    """The owner of rows that nobody refers to: the one given, the one of the attempt before, or the only one."""
    names = located.names
    if given is not None and names.move.owner is None:
        raise _without_tenants(names.move, "--default-business")
    if given is None:
        return (row.default_owner if row is not None and row.default_owner else census.only_owner(cursor, names)), []
    found = census.find_owner(cursor, names, given)
    if len(found) == 1:
        return found[0], []
    what = "no owner" if not found else "more than one owner"
    return None, [
        Blocker(
            code="unknown_default_owner",
            message=f"There is {what} with the id or name {given!r}.",
            remedy=f"Choose one of {names.schema}.{names.move.owner.table}, by {names.move.owner.key} or "
            f"{names.move.owner.label}.",
        )
    ]


def missing_owner(
    cursor: extensions.cursor, located: Located, question: Question, count: int, calls: CommandLine
) -> Blocker:
    """calls: what may come next; `plan` shows what an answer would do before anything is done."""
    names = located.names
    return no_owner(
        count=count,
        examples=census.rows_without_owner(cursor, names, question),
        candidates=census.owner_candidates(cursor, names),
        command=calls.line("plan", "--default-business", "OWNER"),
        by_file=calls.line("plan", "--owners", "FILE.csv"),
    )


def unknown_assigned(cursor: extensions.cursor, located: Located, question: Question) -> list[Blocker]:
    names = located.names
    return [
        Blocker(
            code="unknown_in_owners_file",
            message=f"The file of owners names the row {key!r}, which {names.move.source.table} does not have."
            if unknown_row
            else f"The file of owners gives {key!r} to {owner}, which {names.move.owner.table} does not have.",
            remedy="Put the line right or take it out.",
        )
        for key, owner, unknown_row in census.unknown_in_owners_file(cursor, names, question)
    ]


def other_owner(
    cursor: extensions.cursor, located: Located, question: Question, row: MoveRow, *, given: str | None
) -> list[Blocker]:
    """Decided owners are never ranked again: what would have to be is refused, not passed over.

    given: the default owner as this call names it, or None.
    """
    if question.default_owner is None and question.assigned is None:
        return []
    asked = census.decided_otherwise(cursor, located.names, question, default_was_given=given is not None)
    return [_decided(located, part, found, given=given, row=row) for part, found in asked.items()]


def _decided(located: Located, part: str, found: census.Decided, *, given: str | None, row: MoveRow) -> Blocker:
    move, schema = located.names.move, located.names.schema
    command = f"python -m pipelines.{move.name} rollback" + ("" if schema == "public" else f" --schema {quote(schema)}")
    if part == "default":
        option, before = f"--default-business {given}", f"with --default-business {row.default_owner}, or without it"
    else:
        option, before = "The file of --owners", "with the file of the earlier run, or without one"
    rows = "1 row" if found.rows == 1 else f"{found.rows:,} rows"
    shown = ", ".join(f"{key!r} to {owner}" for key, owner in found.examples)
    return Blocker(
        code="owner_is_decided",
        message=f"{option} would give {rows} to another owner than an earlier run has: it gave {shown}.",
        remedy=f"Go on {before}; or take the move back first ({command}), then run it with the new owners.",
    )


def _without_tenants(move: Move, option: str) -> UsageProblem:
    return UsageProblem(
        f"Rows of {move.target.table} belong to nobody in particular: {option} has no meaning here.",
        untouched="Nothing was written.",
        next_step=f"Run without {option}, and without it in the environment.",
    )
