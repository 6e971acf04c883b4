"""The names of one move as quoted SQL: what the placeholders of `sql/table_move/` stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import sql

from pipelines.table_move.database.queries import query
from pipelines.table_move.spec import Move, Referencing


@dataclass(frozen=True, kw_only=True)
class Names:
    """A move in one schema of one database.

    references: the referencing tables with the columns that exist there, none of them empty.
    source_schema: where the old table is now: the application's schema, or that of the retired tables.
    """

    move: Move
    schema: str
    source_schema: str
    references: tuple[Referencing, ...]

    @property
    def key(self) -> str:
        return self.move.key_in(self.schema)

    def query(self, name: str, **more: sql.Composable) -> sql.Composed:
        """A named query of the machine with this move's tables and columns in it."""
        return query(name, **self._composed(), **more)

    def table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self.schema, name)

    @property
    def source(self) -> sql.Identifier:
        return sql.Identifier(self.source_schema, self.move.source.table)

    @property
    def frozen_names(self) -> str:
        """The target as a message names it."""
        return f"{self.schema}.{self.move.target.table}"

    def _composed(self) -> dict[str, sql.Composable]:
        move = self.move
        return {
            "source": self.source,
            "source_key": sql.Identifier(move.source.key),
            "source_columns": _columns("s", move.source.columns),
            "source_all_columns": sql.SQL(", ").join(
                sql.Identifier("s", name) for name in dict.fromkeys((*move.source.columns, *move.source.not_carried))
            ),
            "source_hash": fingerprint("s", move.source.columns),
            "source_bytes": sql.SQL(" + ").join(
                sql.SQL("coalesce(octet_length({}), 0)").format(sql.Identifier("s", name))
                for name in move.source.columns
            ),
            "target": self.table(move.target.table),
            "target_key": sql.Identifier(move.target.key),
            "target_owner": sql.Identifier(move.target.owner),
            "target_columns": sql.SQL(", ").join(map(sql.Identifier, move.target.columns)),
            "target_columns_of_t": _columns("t", move.target.columns),
            "staged_columns": _columns("st", move.target.columns),
            "target_assignments": sql.SQL(", ").join(
                sql.SQL("{} = st.{}").format(sql.Identifier(name), sql.Identifier(name)) for name in move.target.columns
            ),
            "target_hash": fingerprint("t", move.target.columns),
            "owners": self.table(move.owner.table),
            "owners_key": sql.Identifier(move.owner.key),
            "owners_label": sql.Identifier(move.owner.label),
            "references": self._references(),
            "claims": self._claims(),
            "value_is_uuid": query("references.value_is_uuid"),
            "move": sql.Literal(self.key),
        }

    def _references(self) -> sql.Composable:
        """Every reference as a row: table_name, row_key, column_name, owner_id, value (text)."""
        one = sql.SQL(
            "SELECT {name}::text AS table_name, r.{key}::text AS row_key, {column_name}::text AS column_name,"
            ' r.{owner} AS owner_id, r.{column}::text COLLATE "C" AS value FROM {table} r'
        )
        return self._for_each_column(one)

    def _claims(self) -> sql.Composable:
        """How often each owner refers to each value: value, owner_id, uses; one line per table and column."""
        one = sql.SQL(
            'SELECT r.{column}::text COLLATE "C" AS value, r.{owner} AS owner_id, count(*) AS uses FROM {table} r'
            " WHERE r.{column} IS NOT NULL AND r.{owner} IS NOT NULL GROUP BY 1, 2"
        )
        return self._for_each_column(one)

    def _for_each_column(self, template: sql.SQL) -> sql.Composable:
        return sql.SQL("\n    UNION ALL ").join(
            template.format(
                name=sql.Literal(table.table),
                key=sql.Identifier(table.key),
                column_name=sql.Literal(column),
                column=sql.Identifier(column),
                owner=sql.Identifier(table.owner),
                table=self.table(table.table),
            )
            for table in self.references
            for column in table.columns
        )


def fingerprint(alias: str, columns: Sequence[str]) -> sql.Composable:
    """SHA-256 over columns, each with its length in bytes in front; the same as `pure.fingerprint`."""
    parts = sql.SQL(" || ").join(
        sql.SQL("coalesce(octet_length({0})::text || ':' || {0}::text, '-')").format(sql.Identifier(alias, column))
        for column in columns
    )
    return sql.SQL("sha256(convert_to({}, 'UTF8'))").format(parts)


def _columns(alias: str, columns: Sequence[str]) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in columns)
