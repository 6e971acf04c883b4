"""The names of a move as the way back needs them: also what the target has beside the columns of the move, what refers
to it, and what the referencing columns take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import extensions, sql

from pipelines.table_move.database.catalog import Located, foreign_keys_to
from pipelines.table_move.database.cursor import Verbatim
from pipelines.table_move.database.names import Names
from pipelines.table_move.database.queries import query
from pipelines.table_move.pure.defaults import is_constant
from pipelines.table_move.pure.facts import ForeignKey


@dataclass(frozen=True, kw_only=True)
class BackNames:
    """`Names`, and the parts that only the queries of the way back have.

    switched: the references of the new world are in force.
    """

    names: Names
    switched: bool
    parts: dict[str, sql.Composable]

    def query(self, name: str, **more: sql.Composable) -> sql.Composed:
        return self.names.query(name, **{**self.parts, **more})


def back_names(cursor: extensions.cursor, located: Located, *, switched: bool) -> BackNames:
    names = located.names
    keys = foreign_keys_to(cursor, located.facts.target)
    is_uuid = query("rollback.is_uuid", groups=query("references.groups"))
    parts: dict[str, sql.Composable] = {
        "switched": sql.Literal(switched),
        "is_uuid": is_uuid,
        "as_uuid": query("rollback.as_uuid", is_uuid=is_uuid),
        "columns": _columns(located, keys),
        "filled": _filled(cursor, located),
        "source_key_is_text": sql.Literal(_source_key_is_text(located)),
    }
    parts["back"] = names.query("rollback.back", **parts)
    parts["referred"] = _referred(names, keys, parts["as_uuid"])
    return BackNames(names=names, switched=switched, parts=parts)


def _source_key_is_text(located: Located) -> bool:
    """Of a purged table it is not known any more; references to a key that is a uuid have never changed their type."""
    source = located.facts.source
    return source is None or source.columns[located.names.move.source.key].type != "uuid"


def _columns(located: Located, keys: Sequence[ForeignKey]) -> sql.Composable:
    names, facts = located.names, located.facts
    enforced = {
        (key.table, key.columns[0])
        for key in keys
        if key.schema == names.schema and key.key_columns == (names.move.target.key,)
    }
    columns = [(table.table, column) for table in names.references for column in table.columns]
    return query(
        "rollback.columns",
        tables=sql.Literal([table for table, _ in columns]),
        names=sql.Literal([column for _, column in columns]),
        uuids=sql.Literal([names.column_types[pair] == "uuid" for pair in columns]),
        limits=sql.Literal([facts.references[table].columns[column].characters for table, column in columns]),
        keys=sql.Literal([pair in enforced for pair in columns]),
    )


def _filled(cursor: extensions.cursor, located: Located) -> sql.Composable:
    """Whether a target row has anything in columns that the move does not write. What is computed for every row anew,
    such as a time, says nothing about who wrote it."""
    target = located.names.move.target
    written = {target.key, target.owner, *target.columns}
    cursor.execute(query("rollback.defaults"), {"oid": located.facts.target.oid})
    found = []
    for name, kind, default, computed in cursor.fetchall():
        column = sql.Identifier("t", name)
        if name in written or computed:
            continue
        if default is None:
            found.append(sql.SQL("{} IS NOT NULL").format(column))
        elif is_constant(default):
            constant = Verbatim(f"(({default})::{kind})::text")  # as text: not every type has an equality
            found.append(sql.SQL('{}::text COLLATE "C" IS DISTINCT FROM {}').format(column, constant))
    return sql.SQL(" OR ").join(found) if found else sql.SQL("false")


def _referred(names: Names, keys: Sequence[ForeignKey], as_uuid: sql.Composable) -> sql.Composable:
    """Whether a foreign key that does not delete its rows with it will refer to a target row."""
    found = [_referred_by(names, key, as_uuid) for key in keys if not key.cascades]
    return sql.SQL(" OR ").join(found) if found else sql.SQL("false")


def _referred_by(names: Names, key: ForeignKey, as_uuid: sql.Composable) -> sql.Composable:
    table = sql.Identifier(key.schema, key.table)
    if key.schema == names.schema and (key.table, key.columns[0]) in names.column_types and len(key.columns) == 1:
        return names.query(
            "rollback.referred_by_followed",
            as_uuid=as_uuid,
            table=table,
            column=sql.Identifier(key.columns[0]),
            column_of_t=sql.Identifier(key.key_columns[0]),
        )
    return query(
        "rollback.referred_by",
        columns_of_t=_list("t", key.key_columns),
        columns=_list("c", key.columns),
        table=table,
        all_there=sql.SQL(" AND ").join(
            sql.SQL("{} IS NOT NULL").format(sql.Identifier("c", name)) for name in key.columns
        ),
    )


def _list(alias: str, columns: Sequence[str]) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in columns)
