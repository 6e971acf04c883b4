"""Columns of every kind travel as text and arrive equal, in a move without tenants and references."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pandas as pd

from pipelines.table_move.database.catch_up import catch_up
from pipelines.table_move.database.connect import Database
from pipelines.table_move.preflight import make_plan
from pipelines.table_move.quality import gate
from pipelines.table_move.quality.subjects import Standing
from pipelines.table_move.quality.suites import Check, Suite
from pipelines.table_move.quality.verdict import counted
from pipelines.table_move.runner import open_attempt
from pipelines.table_move.settings import Settings
from pipelines.table_move.spec import Move, Source, Target
from tests.application import Application
from tests.integration.conftest import Silent, copy

# A type, and what has been lost of it before: by other settings of a session, or by a form that reads back otherwise.
VALUES = {
    "boolean": ["true", "false"],
    "char(5)": ["ab", ""],
    "varchar(9)": ["ab ", ""],
    "numeric": ["1.00", "1e400", "NaN"],
    "double precision": ["0.1", "1e-307", "-0", "Infinity", "1.0000000000000002"],
    "real": ["1.1", "16777217"],
    "timestamptz": ["2024-03-31 01:59:59.000001+01", "infinity", "0044-03-15 BC"],
    "interval": ["1 year -2 mons +3 days -04:05:06.7", "-1 day"],
    "bytea": ["\\x00ff", ""],
    "json": ['{"a": 1.0,  "a": [ ]}'],
    "jsonb": ['{"a": 1.0, "b": null}', "1e400"],
    "text[]": ['{a,NULL,"NULL","",",","{}"}', "{}", "[0:1]={a,b}", "{{a},{b}}"],
    "timestamptz[]": ["{2024-01-01 00:00:00+05,NULL}"],
    "int4range": ["[1,5)", "empty"],
    "inet": ["10.0.0.1/8"],
}
COLUMNS = tuple(f"c{number}" for number in range(len(VALUES)))
MOVE = Move(
    name="types",
    source=Source(table="old", key="id", columns=COLUMNS),
    target=Target(
        table="new", key="id", owner=None, columns=COLUMNS, carried=tuple(zip(COLUMNS, COLUMNS, strict=True))
    ),
    owner=None,
    references=(),
    namespace=UUID(int=1),
    transform="tests.integration.test_types:same",
    suites=Path(),
)
# What a database may say about its sessions.
SETTINGS = ("array_nulls = off", "extra_float_digits = -15", "IntervalStyle = iso_8601", "DateStyle = 'SQL, DMY'",
            "TimeZone = 'Asia/Kolkata'", "bytea_output = escape")  # fmt: skip


def same(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns="source_id")


def test_values_of_every_type_arrive_equal_whatever_the_database_says_of_its_sessions(
    application: Application, database: Database, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(COLUMNS, VALUES, strict=True))
    for table in ("old", "new"):
        application.execute(f"CREATE TABLE {table} (id uuid PRIMARY KEY, {columns})")
    rows = 0
    for name, (kind, values) in zip(COLUMNS, VALUES.items(), strict=True):
        for value in (*values, None):
            rows += application.execute(
                f"INSERT INTO old (id, {name}) VALUES (gen_random_uuid(), %s::{kind})", (value,)
            )
    for setting in SETTINGS:
        application.execute(f"ALTER DATABASE {application.value('SELECT current_database()')} SET {setting}")
    settings = Settings.read(report_dir=str(tmp_path))
    plan = make_plan(database, MOVE, settings, default_business=None)
    plan.require_way()
    going = open_attempt(database, MOVE, settings, Silent(), plan, ())

    assert copy(going.attempt) == rows

    assert catch_up(going.attempt) == 0, "the fingerprints of both sides are the same"
    assert application.rows("SELECT disposition, count(*) FROM pipelines.id_map GROUP BY 1") == [("inserted", rows)]
    assert application.value("SELECT count(*) FROM old JOIN new USING (id) WHERE old::text = new::text") == rows
    assert counted(carried(database, going.attempt.names)).failed_critical == 0
    application.execute(
        "UPDATE new SET c0 = false WHERE c0; UPDATE new SET c10 = '{\"a\": 1.00, \"b\": null}' WHERE c10->'a' = '1'"
    )
    closed = {
        row.expectation: row.unexpected_count for row in carried(database, going.attempt.names) if not row.success
    }
    assert closed == {"c0": 1, "c10": 1}


def carried(database: Database, names) -> list:
    """The verdicts on the carried columns."""
    checks = []
    for column in COLUMNS:
        kwargs = {"column": f"{column}_is_carried", "value_set": [True]}
        meta = {"name": column, "reason": "Equal."}
        definition = {
            "type": "expect_column_values_to_be_in_set",
            "kwargs": kwargs,
            "severity": "critical",
            "meta": meta,
        }
        checks.append(Check(name=column, severity="critical", reason="Equal.", definition=definition))
    suite = Suite(subject="target", checks=tuple(checks))
    return gate.run_suites(database, names, [suite], phase="verify", standing=Standing())
