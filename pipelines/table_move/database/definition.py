"""What the tables of a move are: read before the first look, and proven under the locks."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2 import extensions

from pipelines.table_move.database.queries import query
from pipelines.table_move.pure.definition import Definition, Part
from pipelines.table_move.pure.facts import Relation


def read_definition(cursor: extensions.cursor, tables: Sequence[Relation], source: Relation | None) -> Definition:
    """The parts of these tables, by the names of the tables. Under the pinned search_path, so that names are full."""
    names = {table.oid: table.name for table in tables}
    values = {"oids": list(names), "source": None if source is None else source.oid}
    cursor.execute(query("definition.parts"), values)
    return tuple(
        Part(table=names[oid], kind=kind, name=name, place=place, said=said) for oid, kind, name, place, said in cursor
    )
