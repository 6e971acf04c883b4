"""The names of one move as quoted SQL: what the placeholders of `sql/table_move/` stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from psycopg2 import sql

from pipelines.table_move.database.cursor import Verbatim
from pipelines.table_move.database.queries import query
from pipelines.table_move.spec import Move, Referencing

# Who owns the rows of a move without tenants.
NOBODY = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, kw_only=True)
class Names:
    """A move in one schema of one database.

    references: the referencing tables with the columns that exist there, none of them empty.
    column_types: the type of each referencing column, by (table, column).
    source_schema: where the old table is now: the application's schema, or that of the retired tables.
    is_purged: the old table is nowhere; the map stands in for it, which remembers its keys.
    """

    move: Move
    schema: str
    source_schema: str
    references: tuple[Referencing, ...]
    column_types: dict[tuple[str, str], str] = field(default_factory=dict)
    is_purged: bool = False

    @property
    def key(self) -> str:
        return self.move.key_in(self.schema)

    def query(self, name: str, **more: sql.Composable) -> sql.Composed:
        """A named query of the machine with this move's tables and columns in it."""
        return query(name, **{**self._composed, **more})

    def table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self.schema, name)

    @property
    def source(self) -> sql.Composable:
        if self.is_purged:
            return self._stand_in()
        return sql.Identifier(self.source_schema, self.move.source.table)

    @property
    def target(self) -> sql.Identifier:
        return self.table(self.move.target.table)

    @property
    def frozen_names(self) -> str:
        """The target as a message names it."""
        return f"{self.schema}.{self.move.target.table}"

    @property
    def matched_by_value(self) -> bool:
        """Whether a referencing column is a uuid, for which all spellings of an id are one."""
        return "uuid" in self.column_types.values()

    @property
    def everything(self) -> sql.SQL:
        """The condition of a look at all rows."""
        return sql.SQL("true")

    def is_new(self, alias: str, since: int) -> sql.Composable:
        """Whether a row version may have been written since: the number of a transaction, see `versions`."""
        return query("versions.is_new", alias=sql.Identifier(alias), since=sql.Literal(since))

    def touched(self, source_id: sql.Composable) -> sql.Composable:
        """Whether a source id may have moved since the last look."""
        return self.query("catchup.was_touched", id=source_id)

    @property
    def source_id(self) -> sql.Composable:
        """The key of a source row `s`, as the journal writes it."""
        return sql.SQL('{}::text COLLATE "C"').format(sql.Identifier("s", self.move.source.key))

    def type_of(self, table: Referencing, column: str) -> sql.Composable:
        """The type of a referencing column, as the catalog writes it."""
        return Verbatim(self.column_types.get((table.table, column), "text"))

    @cached_property
    def _composed(self) -> dict[str, sql.Composable]:
        move = self.move
        source_key = sql.Identifier(move.source.key)
        canonical = query("ids.is_canonical", source_key=source_key)
        name_based = query("ids.name_based", source_key=source_key, namespace=sql.Literal(move.namespace.hex))
        return {
            "source": self.source,
            "source_key": source_key,
            # Cast, as in the fingerprints: what COPY writes is another text for some types, t for true.
            "source_texts": sql.SQL(", ").join(
                sql.SQL("{}::text").format(sql.Identifier("s", name)) for name in move.source.columns
            ),
            "source_all_columns": sql.SQL(", ").join(
                sql.SQL("{} AS {}").format(as_text("s", name), sql.Identifier(name))
                for name in dict.fromkeys((*move.source.columns, *move.source.not_carried))
            ),
            "source_hash": fingerprint("s", move.source.columns),
            "source_bytes": sql.SQL(" + ").join(
                sql.SQL("coalesce(octet_length({}::text), 0)").format(sql.Identifier("s", name))
                for name in move.source.columns
            ),
            "carried_of_s": _digest("s", [source for _, source in move.target.carried]),
            "carried_of_t": _digest("t", [target for target, _ in move.target.carried]),
            "carried_of_o": _digest("o", [target for target, _ in move.target.carried]),
            "is_canonical": canonical,
            "primary_id": query("ids.primary", source_key=source_key, is_canonical=canonical, name_based=name_based),
            "target": self.target,
            "target_key": sql.Identifier(move.target.key),
            "target_columns": sql.SQL(", ").join(map(sql.Identifier, move.target.columns)),
            "target_columns_of_t": _columns("t", move.target.columns),
            "written": sql.SQL(", ").join(map(sql.Identifier, _written(move))),
            "staged": _columns("st", ["target_id", *(["owner_id"] if move.target.owner else []), *move.target.columns]),
            "owner_of_t": self._owner_of("t"),
            "owner_of_o": self._owner_of("o"),
            "target_assignments": sql.SQL(", ").join(
                sql.SQL("{} = st.{}").format(sql.Identifier(name), sql.Identifier(name)) for name in move.target.columns
            ),
            "target_hash": fingerprint("t", move.target.columns),
            **self._owners(),
            "spellings": self._spellings(),
            "all_spellings": self._all_spellings(),
            "references": self._references(),
            "claims": self._claims(),
            "switched": query("census.switched", move=sql.Literal(self.key)),
            "move": sql.Literal(self.key),
        }

    def _stand_in(self) -> sql.Composable:
        source = self.move.source
        named = dict.fromkeys((*source.columns, *source.not_carried))
        others = (sql.SQL("NULL::text AS {}").format(sql.Identifier(name)) for name in named)
        columns = [sql.SQL("m.source_id AS {}").format(sql.Identifier(source.key)), *others]
        return query("purge.source_stand_in", columns=sql.SQL(", ").join(columns), move=sql.Literal(self.key))

    def _owners(self) -> dict[str, sql.Composable]:
        owner = self.move.owner
        if owner is None:
            nobody = sql.SQL("(SELECT {}::uuid AS key, 'nobody'::text AS label)").format(sql.Literal(NOBODY))
            return {"owners": nobody, "owners_key": sql.Identifier("key"), "owners_label": sql.Identifier("label")}
        return {
            "owners": self.table(owner.table),
            "owners_key": sql.Identifier(owner.key),
            "owners_label": sql.Identifier(owner.label),
        }

    def _owner_of(self, alias: str) -> sql.Composable:
        """The owner of a target row; NULL where there is no row."""
        target = self.move.target
        if target.owner is not None:
            return sql.Identifier(alias, target.owner)
        return sql.SQL("CASE WHEN {} IS NOT NULL THEN {}::uuid END").format(
            sql.Identifier(alias, target.key), sql.Literal(NOBODY)
        )

    def _references(self) -> sql.Composable:
        """Every reference as a row: table_name, row_key, column_name, owner_id, value (the source id that is meant, or
        the text that is there), written (the text that is there)."""
        return self._for_each_column("references.of_text", "references.of_uuid", "references.none")

    def _claims(self) -> sql.Composable:
        """How often each owner refers to each value: value, owner_id, uses; one line per table and column."""
        return self._for_each_column("references.claims_of_text", "references.claims_of_uuid", "references.no_claims")

    def _all_spellings(self) -> sql.Composable:
        """Source ids that are UUIDs in another spelling: source_id, id."""
        key, groups = sql.Identifier(self.move.source.key), query("references.groups")
        return query("references.all_spellings", source=self.source, source_key=key, groups=groups)

    def _spellings(self) -> sql.Composable:
        return query("references.spellings", all_spellings=self._all_spellings())

    def _for_each_column(self, of_text: str, of_uuid: str, none: str) -> sql.Composable:
        spellings = self._spellings()
        if not self.references:
            return query(none)
        return sql.SQL("\n    UNION ALL\n").join(
            query(
                of_uuid if self.column_types.get((table.table, column)) == "uuid" else of_text,
                table_name=sql.Literal(table.table),
                key=sql.Identifier(table.key),
                column_name=sql.Literal(column),
                column=sql.Identifier(column),
                owner=sql.SQL("{}::uuid").format(
                    sql.Literal(NOBODY) if table.owner is None else sql.Identifier("r", table.owner)
                ),
                table=self.table(table.table),
                spellings=spellings,
            )
            for table in self.references
            for column in table.columns
        )


def as_text(alias: str, column: str) -> sql.Composable:
    """A column as a suite may ask about it, whatever its type: enumerations and their like take no comparison with any
    other text, and collations that are not deterministic no pattern."""
    return sql.SQL('{}::text COLLATE "default"').format(sql.Identifier(alias, column))


def fingerprint(alias: str, columns: Sequence[str]) -> sql.Composable:
    """SHA-256 over columns, each with its length in bytes in front; the same as `pure.fingerprint`."""
    parts = sql.SQL(" || ").join(
        sql.SQL("coalesce(octet_length({0}::text)::text || ':' || {0}::text, '-')").format(
            sql.Identifier(alias, column)
        )
        for column in columns
    )
    return sql.SQL("sha256(convert_to({}, 'UTF8'))").format(parts)


def _digest(alias: str, columns: Sequence[str]) -> sql.Composable:
    """64 bits over columns, for what only has to be likely; many times faster than a fingerprint."""
    texts = [sql.SQL("coalesce({}::text, '')").format(sql.Identifier(alias, column)) for column in columns]
    return sql.SQL('hashtextextended({} COLLATE "C", 0)').format(sql.SQL(" || ").join(texts or [sql.SQL("''")]))


def _written(move: Move) -> list[str]:
    return [move.target.key, *([move.target.owner] if move.target.owner else []), *move.target.columns]


def _columns(alias: str, columns: Sequence[str]) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in columns)
