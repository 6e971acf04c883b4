"""A whole run while an application is at work: `python -m tests.crash.under_load [ROWS [REPEATS [CLIENTS]]]`, a table for
people.

Twelve clients at full speed (two thirds of them write, the others read) or as many as are given, a prober that is not
part of the pipeline, random timing. What was
acknowledged is compared with what is there, by plain SQL. The seed is printed.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import extensions
from psycopg2.extras import execute_values

from pipelines.table_move.database import embedded
from pipelines.templates import demo
from tests.application import Application
from tests.command import ROOT, call, environment
from tests.conftest import empty_database
from tests.crash.writers import OVER, Reader, Writer

CLIENTS = 12


@dataclass(frozen=True, kw_only=True)
class Result:
    """One run under load. Waits are milliseconds; `predicted` is what the plan said of the pause."""

    wrong: list[str]
    writes: int
    reads: int
    refused: Counter[str]
    said_pause: float
    predicted: float
    write_wait: float
    read_wait: float
    seconds: float
    writers: list[Writer]


def run_under_load(
    url: str, reports: str, *, chance: random.Random, more: tuple[str, ...] = (), clients: int = CLIENTS
) -> Result:
    """The run and a second one for what was written late; then the verdict."""
    with Application(url) as application:
        businesses = [key for (key,) in application.rows("SELECT business_id FROM businesses ORDER BY 1")]
        application.stage(0xFF - 10_000, businesses[0])
    stop = threading.Event()
    writers = [Writer(url, number, businesses[number % len(businesses)], stop) for number in range(clients * 2 // 3)]
    readers = [Reader(url, stop) for _ in range(clients - len(writers))]
    options = ("--json", "--default-business", demo.DEFAULT_BUSINESS)
    probers = {kind: _prober(url, kind) for kind in ("write", "read")}
    for thread in (*writers, *readers):
        thread.start()
    plan = call("plan", *options, DATABASE_URL=url)
    time.sleep(chance.uniform(0.2, 2))
    started = time.monotonic()
    grace = f"{chance.randint(0, 800)}ms"
    ended = call("run", *options, "--grace", grace, "--report-dir", reports, *more, DATABASE_URL=url)
    seconds = time.monotonic() - started
    time.sleep(0.3)
    stop.set()
    for thread in (*writers, *readers):
        thread.join(60)
    waits = {kind: json.loads(one.communicate("", timeout=60)[0]) for kind, one in probers.items()}
    wrong = [] if ended.code == 0 else [f"the run ended with {ended.code}: {ended.err[-800:]}"]
    again = call("run", *options, "--report-dir", reports, DATABASE_URL=url)
    wrong += [] if again.code == 0 else [f"the second run ended with {again.code}: {again.err[-800:]}"]
    refused = sum((one.history.errors for one in writers), Counter()) + sum((one.errors for one in readers), Counter())
    wrong += [f"{count} times SQLSTATE {state}" for state, count in refused.items() if state not in OVER]
    wrong += [f"{one.dangling} references that a reader could not follow" for one in readers if one.dangling]
    if writers and not wrong:
        wrong = lost(url, writers)
    document = ended.json if ended.out else {}
    return Result(
        wrong=wrong,
        writes=sum(one.history.acknowledged for one in writers),
        reads=sum(one.count for one in readers),
        refused=refused,
        said_pause=document.get("write_pause_ms") or 0,
        predicted=plan.json["expected_write_pause_ms"],
        write_wait=waits["write"]["longest_ms"],
        read_wait=waits["read"]["longest_ms"],
        seconds=seconds,
        writers=writers,
    )


QUESTIONS = {
    "acknowledged rows that are not in the retired table as they were acknowledged": """
        SELECT count(*) FROM said_templates a LEFT JOIN {old} p ON p.template_id = a.id
        WHERE p.template_text IS DISTINCT FROM a.text""",
    "acknowledged rows that are not in the new table, once for each owner, with their text": """
        SELECT count(*) FROM said_templates a WHERE a.text IS NOT NULL AND NOT EXISTS (
            SELECT FROM pipelines.id_map m LEFT JOIN templates t
            ON t.template_id = m.target_id AND t.business_id = m.owner_id
            WHERE m.source_id = a.id HAVING bool_and(t.content IS NOT DISTINCT FROM a.text))""",
    "deleted rows that came back": """
        SELECT count(*) FROM said_templates a JOIN pipelines.id_map m ON m.source_id = a.id WHERE a.text IS NULL""",
    "texts that stand in the new table twice for one owner, or that nobody acknowledged": """
        SELECT count(*) FROM (SELECT content, business_id, count(*) AS n FROM templates
                              WHERE content ~ '^[0-9]+:[0-9]+:[0-9a-f]+$' GROUP BY 1, 2) t
        WHERE NOT EXISTS (SELECT FROM said_templates a WHERE a.text = t.content)
           OR n > (SELECT count(*) FROM said_templates a WHERE a.text = t.content)""",
    "stages that do not hold what was acknowledged": """
        SELECT count(*) FROM said_stages a LEFT JOIN stages s ON s.stage_id = a.id::uuid
        WHERE s.stage_name IS DISTINCT FROM a.name""",
    "references that do not point to the row of their own business with the acknowledged text": """
        SELECT count(*) FROM said_stages a JOIN stages s ON s.stage_id = a.id::uuid
        JOIN said_templates o ON o.id = a.reference
        LEFT JOIN templates t ON t.template_id::text = s.data_extraction_template_id AND t.business_id = s.business_id
        WHERE t.content IS DISTINCT FROM o.text""",
    "deadlocks": "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
}


def lost(url: str, writers: list[Writer], cursor: extensions.cursor | None = None) -> list[str]:
    """What differs from what the writers were told. cursor: look from this transaction; else from one of its own."""
    if cursor is None:
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as own:
            return lost(url, writers, own)
    cursor.execute(
        "CREATE TEMP TABLE said_templates (id text, text text);"
        "CREATE TEMP TABLE said_stages (id text, reference text, name text)"
    )
    templates = [pair for one in writers for pair in one.history.templates.items()]
    stages = [(key, *value) for one in writers for key, value in one.history.stages.items()]
    execute_values(cursor, "INSERT INTO said_templates VALUES %s", templates)
    execute_values(cursor, "INSERT INTO said_stages VALUES %s", stages)
    cursor.execute("ANALYZE said_templates; ANALYZE said_stages; SELECT retired_schema FROM pipelines.move")
    old = f"{cursor.fetchone()[0]}.prompt_templates"
    found = []
    for question, text in QUESTIONS.items():
        cursor.execute(text.replace("{old}", old))
        if count := cursor.fetchone()[0]:
            found.append(f"{count} {question}")
    return found


def _prober(url: str, kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.crash.prober", url, kind]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _table(results: list[tuple[int, Result]]) -> str:
    lines = [
        "| rows | run, s | writes | pause said, ms | predicted | longest write | longest read | refused | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for rows, one in results:
        refused = ", ".join(f"{state} {count}" for state, count in sorted(one.refused.items()))
        cells: list[Any] = [
            f"{rows:,}", f"{one.seconds:.1f}", f"{one.writes:,}", f"{one.said_pause:,.0f}", f"{one.predicted:,.0f}",
            f"{one.write_wait:,.0f}", f"{one.read_wait:,.0f}", refused, "; ".join(one.wrong) or "nothing lost",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    given = [int(value) for value in sys.argv[1:]]
    rows, repeats, clients = (*given, *(10_000, 1, CLIENTS)[len(given) :])
    seed = random.randrange(10**6)
    print(f"seed {seed}", file=sys.stderr)
    results = []
    with tempfile.TemporaryDirectory(prefix="table-move-load-") as folder:
        server = embedded.server(Path(folder) / "data")
        for number in range(repeats):
            with empty_database(server.get_uri()) as url:
                connection = psycopg2.connect(url)
                demo.create(connection, rows=rows)
                connection.close()
                found = run_under_load(url, f"{folder}/reports", chance=random.Random(seed + number), clients=clients)
                results.append((rows, found))
                print(
                    f"{number + 1} of {repeats}: {'; '.join(found.wrong) or 'nothing lost'}",
                    file=sys.stderr,
                    flush=True,
                )
        server.cleanup()
    print(_table(results))
    raise SystemExit(any(one.wrong for _, one in results))


if __name__ == "__main__":
    main()
