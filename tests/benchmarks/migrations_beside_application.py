"""`make bench-migrations`: how long queries of the application wait while 02 to 05 go up and back, and what a recorded
write costs.

ROWS templates and as many stages with three references each. Machines differ and drift: the costs are ratios of pairs
within one run. Bounded: one round over the files, PAIRS pairs of writes. Exit code 1 where a query took longer than the
README says it can.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from pipelines.table_move.database import embedded
from tests.acceptance.test_migrations import LINE
from tests.application import Application
from tests.command import ROOT
from tests.postgres_tools import psql

ROWS = int(os.environ.get("ROWS", "1000000"))
PAIRS = int(os.environ.get("PAIRS", "5"))
NAMES = [path.stem for path in sorted((ROOT / "sql").glob("[0-9]*.sql")) if not path.stem.endswith(".rollback")]
READS = (
    "SELECT content FROM templates WHERE template_id = md5('t{n}')::uuid",
    "SELECT * FROM stages WHERE stage_id = md5('s{n}')::uuid",
)
WRITES = (
    "UPDATE templates SET system_prompt = 'probe' WHERE template_id = md5('t{n}')::uuid",
    "UPDATE stages SET stage_description = 'probe' WHERE stage_id = md5('s{n}')::uuid",
    "INSERT INTO stages (stage_id, business_id, stage_name, stage_description, stage_type, stage_selection_template_id)"
    " VALUES (gen_random_uuid(), md5('b1')::uuid, 'new', 'd', 't', md5('t{n}')::uuid)",
)
LONGEST = 0.6  # seconds: a lock is awaited for 500 ms, then everybody goes on
BULK = "UPDATE stages SET stage_type = 'n{n}' WHERE stage_id < 'ffffffff-ffff-ffff-ffff-ffffffffffff' AND business_id = md5('b1')::uuid"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="table-move-bench-") as folder:
        server = embedded.server(Path(folder) / "data")
        with Application(server.get_uri()) as application:
            fill(application)
            for name in NAMES[1:]:
                watched(application, name, f"sql/{name}.sql")
                if name == NAMES[3]:
                    cost_of_audit(application)
            watched(application, f"{NAMES[4]}, again", f"sql/{NAMES[4]}.sql")
            for name in reversed(NAMES[1:]):
                watched(application, f"{name}, back", f"sql/{name}.rollback.sql")
        server.cleanup()


def fill(application: Application) -> None:
    started = time.monotonic()
    application.execute(
        (ROOT / "sql" / "demo" / "application.sql").read_text(encoding="utf-8") + LINE.format(number=1, name=NAMES[0])
    )
    application.execute(
        "INSERT INTO businesses (business_id, api_key, owner_id, business_name)"
        " SELECT md5('b' || n)::uuid, n, md5('b' || n)::uuid, n FROM generate_series(1, 1000) n"
    )
    application.execute(
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " SELECT md5('t' || n)::uuid, md5('b' || n % 1000 + 1)::uuid, n, 'data_extraction', repeat(md5('c' || n), 22)"
        f" FROM generate_series(1, {ROWS}) n"
    )
    application.execute(
        "INSERT INTO stages (stage_id, business_id, stage_name, stage_description, stage_type,"
        " stage_selection_template_id, data_extraction_template_id, response_generation_template_id)"
        " SELECT md5('s' || n)::uuid, md5('b' || n % 1000 + 1)::uuid, n, 'description of ' || n, 'conversation',"
        " md5('t' || n)::uuid, md5('t' || 1 + n * 7 % 1000)::uuid, md5('t' || n)::uuid"
        f" FROM generate_series(1, {ROWS}) n"
    )
    application.execute("VACUUM ANALYZE businesses, templates, stages")
    print(f"{ROWS:,} templates and stages filled in {time.monotonic() - started:.0f} s", flush=True)


def watched(application: Application, title: str, file: str) -> None:
    """Run a file with psql beside the application, and say how long it took and how long any query waited."""
    with probing(application, READS) as reads, probing(application, WRITES) as writes:
        time.sleep(2)
        before = [max(each) for each in (reads, writes)]
        reads.clear(), writes.clear()
        started = time.monotonic()
        answer = psql(application, file, accept_loss="on")
        seconds = time.monotonic() - started
        during = [list(each) for each in (reads, writes)]
    assert answer.code == 0, answer.err
    said = ", ".join(
        f"{name}: longest {max(took) * 1000:.0f} ms (before {quiet * 1000:.0f}), 99.9 % within"
        f" {statistics.quantiles(took, n=1000)[-1] * 1000:.0f} ms of {len(took):,}"
        for name, took, quiet in zip(("reads", "writes"), during, before, strict=True)
    )
    print(f"{title}: {seconds:.1f} s; {said}", flush=True)
    if (longest := max(map(max, during))) > LONGEST:
        raise SystemExit(f"A query waited for {longest:.2f} s beside {title}.")


@contextmanager
def probing(application: Application, statements: tuple[str, ...]) -> Iterator[list[float]]:
    """One session that never stops. Yields how long each statement took, in seconds; an error ends the bench."""
    took: list[float] = []
    failed: list[Exception] = []
    done = threading.Event()

    def work() -> None:
        connection = psycopg2.connect(application.url)
        connection.autocommit = True
        cursor = connection.cursor()
        try:
            while not done.is_set():
                for statement in statements:
                    started = time.monotonic()
                    cursor.execute(statement.format(n=random.randint(1, ROWS)))
                    took.append(time.monotonic() - started)
        except psycopg2.Error as problem:
            failed.append(problem)
        connection.close()

    prober = threading.Thread(target=work)
    prober.start()
    try:
        yield took
    finally:
        done.set()
        prober.join()
    if failed:
        raise failed[0]


def cost_of_audit(application: Application) -> None:
    """Writes with and without the triggers, in pairs."""
    ratios: dict[str, list[float]] = {"one row": [], "1,000 rows at once": []}
    for _ in range(PAIRS):
        seconds = {}
        for enabled in ("ENABLE", "DISABLE"):
            for table in ("stages", "templates"):
                application.execute(f"ALTER TABLE {table} {enabled} TRIGGER USER")
            for _ in range(2):  # the first round warms up
                started = time.monotonic()
                for n in range(1, 1001):
                    application.execute(WRITES[n % 3].format(n=n))
                one = time.monotonic() - started
            started = time.monotonic()
            for n in range(10):
                application.execute(BULK.format(n=n))
            seconds[enabled] = (one, time.monotonic() - started)
        for place, kind in enumerate(ratios):
            ratios[kind].append(seconds["ENABLE"][place] / seconds["DISABLE"][place])
    for table in ("stages", "templates"):
        application.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    for kind, found in ratios.items():
        print(
            f"recorded writes, {kind}: {statistics.median(found):.2f} times an unrecorded one ({min(found):.2f}–{max(found):.2f})"
        )


if __name__ == "__main__":
    main()
