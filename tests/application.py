"""The application of the tests: its tables filled and read by plain SQL. Imports nothing of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg2


class Application:
    """A session of the application, every statement committed at once."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True

    def __enter__(self) -> Application:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def execute(self, statement: str, values: Sequence[Any] | dict[str, Any] | None = None) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.rowcount

    def rows(self, statement: str, values: Sequence[Any] | dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def value(self, statement: str, values: Sequence[Any] | dict[str, Any] | None = None) -> Any:
        return self.rows(statement, values)[0][0]

    def business(self, number: int) -> str:
        """A business with a small, sortable id."""
        key = str(UUID(int=number))
        self.execute(
            "INSERT INTO businesses (business_id, api_key, owner_id, business_name) VALUES (%s, %s, %s, %s)",
            (key, f"key {number}", key, f"Business {number}"),
        )
        return key

    def template(self, key: str, text: str = "Hello {name}", **columns: Any) -> str:
        values = {"template_name": f"name of {key}"[:255], "template_type": "data_extraction", **columns}
        names = ", ".join(values)
        places = ", ".join(["%s"] * len(values))
        self.execute(
            f"INSERT INTO prompt_templates (template_id, template_text, {names}) VALUES (%s, %s, {places})",
            (key, text, *values.values()),
        )
        return key

    def stage(self, number: int, business: str, *references: str | None) -> str:
        """A stage whose three columns hold these references."""
        key = str(UUID(int=10_000 + number))
        three = (*references, None, None, None)[:3]
        self.execute(
            "INSERT INTO stages (stage_id, business_id, stage_name, stage_description, stage_type,"
            " stage_selection_template_id, data_extraction_template_id, response_generation_template_id)"
            " VALUES (%s, %s, 'n', 'd', 't', %s, %s, %s)",
            (key, business, *three),
        )
        return key

    def exists(self, relation: str) -> bool:
        return self.value("SELECT to_regclass(%s) IS NOT NULL", (relation,))

    def snapshot(self) -> None:
        """Keep the stages and templates as they are now, for the oracle."""
        self.execute(
            "CREATE SCHEMA before;"
            "CREATE TABLE before.stages AS SELECT * FROM stages;"
            "CREATE TABLE before.templates AS SELECT * FROM templates;"
            "CREATE TABLE before.prompt_templates AS SELECT * FROM prompt_templates"
        )

    def places(self) -> dict[str, list[tuple[Any, ...]]]:
        """xmin and ctid of every row of every table but the system's: what a run that writes nothing leaves alone."""
        tables = self.rows(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1"
        )
        return {name: self.rows(f"SELECT xmin::text, ctid::text FROM {name} ORDER BY ctid") for (name,) in tables}

    def catalog(self) -> str:
        """A digest of what the catalog says about everything that is not the system's: what a plan leaves alone."""
        parts = {
            "pg_class": "oid, relname, relnamespace, relowner, relacl, relfilenode, relkind, relpersistence",
            "pg_namespace": "oid, nspname, nspowner, nspacl",
            "pg_database": "oid, datname, datdba, datacl, datcollversion",
            "pg_attribute": "attrelid AS oid, t.*",
            "pg_db_role_setting": "setdatabase AS oid, t.*",
            **dict.fromkeys(
                ("pg_constraint", "pg_proc", "pg_trigger", "pg_rewrite", "pg_policy", "pg_publication"), "t.*"
            ),
        }
        rows = " UNION ALL ".join(
            f"SELECT r::text AS said FROM (SELECT {columns} FROM {table} t) r WHERE oid >= 16384"
            for table, columns in parts.items()
        )
        return self.value(f"SELECT md5(string_agg(said, ' ' ORDER BY said)) FROM ({rows}) r")
