"""What stands in the way of a move as the database is now. Asked by the plan, and under the locks of the switch."""

from __future__ import annotations

from psycopg2 import extensions

from pipelines.table_move.code_version import mapping_fingerprint
from pipelines.table_move.database import census, journal
from pipelines.table_move.database.catalog import Located, relation, retired_schemas
from pipelines.table_move.database.frozen import thawed, written_since
from pipelines.table_move.database.restored import unproven
from pipelines.table_move.errors import Blocker
from pipelines.table_move.pure.preflight import blockers, frozen_source, left_behind
from pipelines.table_move.pure.surroundings import Surroundings
from pipelines.table_move.records import MoveRow
from pipelines.table_move.status import Milestone


def obstacles(
    cursor: extensions.cursor, located: Located, around: Surroundings, row: MoveRow | None, *, has_journal: bool
) -> list[Blocker]:
    """Everything about tables, rights and what earlier attempts left; nothing about owners.

    row: the move's line in the journal, None where it has not begun.
    """
    found = list(blockers(located.names.move, located.facts, around))
    if row is None:
        found += _left_behind(cursor, located, around, has_journal=has_journal)
    else:
        found += _resume_blockers(cursor, located, row)
        if not found or located.facts.source is None:
            found += unproven(cursor, located, row)
        if not found and row.milestone is Milestone.SWITCHED:
            found += [*thawed(cursor, located), *written_since(cursor, located)]
    return found or _ambiguous(cursor, located)


def _left_behind(
    cursor: extensions.cursor, located: Located, around: Surroundings, *, has_journal: bool
) -> list[Blocker]:
    """What moves left behind that the journal has lost; without any journal, their schemas stand in the way too."""
    move = located.names.move
    known = journal.retired_schemas(cursor) if has_journal else set()
    return [
        *frozen_source(located.facts, around),
        *(
            left_behind(move, located.facts, schema=schema, holds_source=holds_source)
            for schema, holds_source in retired_schemas(cursor, move.source.table).items()
            if schema not in known and (holds_source or not has_journal)
        ),
    ]


def _resume_blockers(cursor: extensions.cursor, located: Located, row: MoveRow) -> list[Blocker]:
    """A resume has to be of the same tables and the same mapping."""
    found, move, schema = [], located.names.move, located.names.schema
    source, target = located.facts.source, located.facts.target
    if source is not None and source.oid != row.source_oid and not row.is_restored:
        found.append(
            Blocker(
                code="other_table",
                message=f"{move.source.table} is not the table that this move began with.",
                remedy="Rename the new table away, or roll the move back, then run again.",
            )
        )
    if target is not None and target.oid != row.target_oid and not row.is_restored:
        found.append(
            Blocker(
                code="other_table",
                message=f"{move.target.table} is not the table that this move began to fill.",
                remedy="Put the table back that the move began with, then run again.",
            )
        )
    if located.facts.is_retired:
        again = relation(cursor, schema, move.source.table)
        if again is not None:
            place = "purged" if located.facts.is_purged else f"retired in {row.retired_schema}"
            found.append(
                Blocker(
                    code="new_source",
                    message=f"A new {schema}.{move.source.table} has appeared; the old one is {place}.",
                    remedy="Rename the new table away, then run again.",
                )
            )
    if row.milestone is Milestone.COPYING and row.mapping != mapping_fingerprint(move):
        found.append(
            Blocker(
                code="other_mapping",
                message="The rows copied so far were mapped by another version of this code.",
                remedy="Go on with the version that began (see code_version in pipelines.run).",
            )
        )
    return found


def _ambiguous(cursor: extensions.cursor, located: Located) -> list[Blocker]:
    source, key = located.names.move.source.table, located.names.move.source.key
    return [
        Blocker(
            code="ambiguous_ids",
            message=f"{source} has {one!r} and {other!r}, which are the same UUID; a uuid column that refers to it may "
            "mean either.",
            remedy=f"Delete one of the two rows of {source}, or give it another {key}.",
        )
        for one, other in census.ambiguous_ids(cursor, located.names)
    ]
