"""`make bench`: the copy (owners, rows and map) against the same work by server-side SQL, and the whole move against
sql/01_cleanup_template_tables.sql, in pairs within one run.

Machines differ and drift, so only the ratio of a pair means anything. Bounded: ROWS rows, PAIRS pairs.
"""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import time
from pathlib import Path

import psycopg2

from pipelines.table_move.database import embedded
from pipelines.templates import demo
from tests.command import ROOT, call

ROWS = int(os.environ.get("ROWS", "200000"))
PAIRS = int(os.environ.get("PAIRS", "3"))
YARDSTICK = (Path(__file__).parent / "server_side.sql").read_text(encoding="utf-8")
MIGRATION = (ROOT / "sql" / "01_cleanup_template_tables.sql").read_text(encoding="utf-8")
JOURNAL = re.split(
    r"^-- name: \w+\n", (ROOT / "sql" / "table_move" / "journal.sql").read_text(encoding="utf-8"), flags=re.M
)[1]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="table-move-bench-") as folder:
        server = embedded.server(Path(folder) / "data")
        admin = psycopg2.connect(server.get_uri())
        admin.autocommit = True
        admin.cursor().execute("CREATE DATABASE original")
        original = psycopg2.connect(server.get_uri(database="original"))
        demo.create(original, rows=ROWS)
        original.close()
        ratios, wholes = [], []
        for number in range(1, PAIRS + 1):
            by_sql = by_server(fresh(server, admin, f"sql_{number}"))
            by_us = by_pipeline(fresh(server, admin, f"us_{number}"), Path(folder))
            ratios.append(by_us / by_sql)
            print(
                f"pair {number}: pipeline {by_us:.1f} s, server-side SQL {by_sql:.1f} s, ratio {ratios[-1]:.2f}",
                flush=True,
            )
            by_file = by_migration(fresh(server, admin, f"file_{number}"))
            whole = by_pipeline(fresh(server, admin, f"all_{number}"), Path(folder), until=None)
            wholes.append(whole / by_file)
            print(
                f"        whole move: pipeline {whole:.1f} s, 01 in plain SQL {by_file:.1f} s, ratio {wholes[-1]:.2f}",
                flush=True,
            )
            for name in (f"sql_{number}", f"us_{number}", f"file_{number}", f"all_{number}"):
                admin.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
        print(f"{ROWS:,} rows, median ratio {statistics.median(ratios):.2f} (below 1: the pipeline is faster)")
        print(f"whole move, median ratio {statistics.median(wholes):.2f}")
        admin.close()
        server.cleanup()


def fresh(server: object, admin: psycopg2.extensions.connection, name: str) -> str:
    admin.cursor().execute(f"CREATE DATABASE {name} TEMPLATE original")
    admin.cursor().execute("CHECKPOINT")
    return server.get_uri(database=name)


def by_server(url: str) -> float:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(JOURNAL)
    started = time.monotonic()
    with connection, connection.cursor() as cursor:
        cursor.execute(YARDSTICK)
    seconds = time.monotonic() - started
    connection.close()
    return seconds


def by_migration(url: str) -> float:
    """The whole move by the numbered file."""
    connection = psycopg2.connect(url)
    started = time.monotonic()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('pipelines.default_business', %s, false)", (demo.DEFAULT_BUSINESS,))
        cursor.execute(MIGRATION)
    seconds = time.monotonic() - started
    connection.close()
    return seconds


def by_pipeline(url: str, reports: Path, *, until: str | None = "copy") -> float:
    """Seconds of the copy, or of all phases but the grace, with their checks."""
    answer = call(
        "run", "--json", *(["--until", until] if until else []), "--grace", "0s",
        "--default-business", demo.DEFAULT_BUSINESS, "--report-dir", str(reports),
        DATABASE_URL=url,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    return answer.json["timings"]["copy"] if until else sum(answer.json["timings"].values())


if __name__ == "__main__":
    main()
