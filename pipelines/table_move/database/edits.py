"""Edits of rows that the move inserted, on their way back into the old rows. Undone by the next run, which maps them
forward again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from operator import attrgetter

from psycopg2 import extensions, sql

from pipelines.table_move.database import journal
from pipelines.table_move.database.asked import prove
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.connect import as_application
from pipelines.table_move.database.extract import at_places, read_rows
from pipelines.table_move.database.piecemeal import piecemeal
from pipelines.table_move.pure.edits import Edit, Values, edit_of
from pipelines.table_move.pure.fingerprint import fingerprints
from pipelines.table_move.pure.ranges import Place

_ROWS = 500  # texts of so many rows are in memory at a time


def read_edits(cursor: extensions.cursor, attempt: Attempt, source_ids: Sequence[str]) -> Iterator[Edit]:
    """What goes back into these old rows. Reads only."""
    for at in range(0, len(source_ids), _ROWS):
        yield from _batch(cursor, attempt, list(source_ids[at : at + _ROWS]))


def merge_back(cursor: extensions.cursor, attempt: Attempt, source_ids: Sequence[str]) -> tuple[int, list[str]]:
    """Write edits into the old rows. Returns how many went back whole, and the target ids of those that the database
    refused."""
    merged, refused = 0, []
    for at in range(0, len(source_ids), _ROWS):
        edits = [edit for edit in _batch(cursor, attempt, list(source_ids[at : at + _ROWS])) if edit.values]
        write = partial(_write, cursor, attempt)
        not_taken = [edit for edit, _ in piecemeal(cursor, edits, write, key=attrgetter("source_id"))]
        merged += sum(edit.fits for edit in edits) - sum(edit.fits for edit in not_taken)
        refused += [edit.target_id for edit in not_taken]
    return merged, refused


def other_columns(cursor: extensions.cursor, attempt: Attempt) -> frozenset[str]:
    """Columns of the target that are other ones than at the switch: nobody edited what they hold. At another place than
    that of the journal the numbers of columns say nothing."""
    if journal.load(cursor, attempt.names.key).is_restored:
        return frozenset()
    cursor.execute(attempt.names.query("journal.other_columns"), {"oid": attempt.located.facts.target.oid})
    return frozenset(name for (name,) in cursor) & {*attempt.names.move.target.columns}


def _batch(cursor: extensions.cursor, attempt: Attempt, source_ids: list[str]) -> Iterator[Edit]:
    names = attempt.names
    target = names.move.target
    made = _made(cursor, attempt, source_ids)
    others = other_columns(cursor, attempt)
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier("t", name)) for name in target.columns)
    cursor.execute(names.query("rollback.edited_rows", target_texts=texts), {"source_ids": source_ids})
    limits = attempt.located.facts.source.columns
    for source_id, target_id, loaded_hash, *values in cursor.fetchall():
        digest, columns = made.get(source_id, ("", None))
        yield edit_of(
            source_id,
            target_id,
            made=columns if digest == loaded_hash else None,
            found=dict(zip(target.columns, values, strict=True)),
            back=[(column, old) for column, old in target.back if column not in others],
            limits=limits,
        )


def _made(cursor: extensions.cursor, attempt: Attempt, source_ids: list[str]) -> dict[str, tuple[str, Values]]:
    """By source id: the fingerprint and the columns that the mapping makes of the old row."""
    move = attempt.names.move
    cursor.execute(attempt.names.query("rollback.places"), {"source_ids": source_ids})
    places = [Place.parse(place) for (place,) in cursor]  # COPY binds no values
    rows = read_rows(cursor, attempt.names, at_places(places), with_map=False, with_assigned=False)
    mapped = attempt.transform(rows[["source_id", *move.source.columns]])[list(move.target.columns)]
    plain = mapped.astype(object).where(mapped.notna(), None)
    found = zip(rows["source_id"], fingerprints(mapped), plain.to_dict("records"), strict=True)
    return {str(source_id): (digest, columns) for source_id, digest, columns in found}


def _write(cursor: extensions.cursor, attempt: Attempt, edits: Sequence[Edit]) -> None:
    names = attempt.names
    columns = [source for _, source in names.move.target.back]
    pairs = [(sql.Identifier(f"v{n}"), sql.Identifier(f"has_v{n}")) for n in range(len(columns))]
    kinds = attempt.located.facts.source.columns
    staged = sql.SQL(", ").join(sql.SQL("{} text, {} boolean").format(*pair) for pair in pairs)
    cursor.execute(names.query("rollback.stage_edits", columns=staged))
    places = sql.SQL(", ").join([sql.Placeholder()] * (1 + 2 * len(columns)))
    for edit in edits:
        values = [part for name in columns for part in (edit.values.get(name), name in edit.values)]
        cursor.execute(names.query("rollback.add_edit", values=places), [edit.source_id, *values])
    assignments = sql.SQL(", ").join(
        sql.SQL("{0} = CASE WHEN e.{2} THEN e.{1}::{3} ELSE s.{0} END").format(
            sql.Identifier(name), *pair, sql.SQL(kinds[name].type)
        )
        for pair, name in zip(pairs, columns, strict=True)
    )
    with as_application(cursor, names.schema):
        cursor.execute(names.query("application.apply_edits", assignments=assignments))
    differs = sql.SQL(" OR ").join(
        sql.SQL('e.{2} AND s.{0}::text COLLATE "C" IS DISTINCT FROM (e.{1}::{3})::text').format(
            sql.Identifier(name), *pair, sql.SQL(kinds[name].type)
        )
        for pair, name in zip(pairs, columns, strict=True)
    )
    prove(cursor, names.source, "UPDATE", names.query("asked.edited", differs=differs))
    whole = [edit.source_id for edit in edits if edit.fits]
    cursor.execute(names.query("rollback.merged"), {"source_ids": whole})
    cursor.execute("DROP TABLE pg_temp.edit")
