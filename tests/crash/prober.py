"""A watch with its own log, in a process of its own: how long a write to `stages` and a read of a table take.

`python -m tests.crash.prober URL write|read` until its input ends; then it prints the waits in milliseconds as JSON:
the longest, and how many were above 250 ms.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import psycopg2

WRITE = "UPDATE stages SET stage_description = 'probed' WHERE stage_id = '00000000-0000-0000-0000-0000000000ff'"
READS = ("SELECT count(*) FROM prompt_templates WHERE template_id = 'x'", "SELECT count(*) FROM templates WHERE false")


def main() -> None:
    url, kind = sys.argv[1:]
    connection = psycopg2.connect(url, application_name="prober")
    connection.autocommit = True
    cursor = connection.cursor()
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    statements = [WRITE] if kind == "write" else list(READS)
    waits = []
    while not ended.is_set():
        for statement in list(statements):
            started = time.monotonic()
            try:
                cursor.execute(statement)
            except psycopg2.errors.UndefinedTable:
                statements.remove(statement)  # it has retired
            waits.append((time.monotonic() - started) * 1000)
        time.sleep(0.002)
    connection.close()
    print(
        json.dumps(
            {"longest_ms": round(max(waits), 1), "above_250": sum(wait > 250 for wait in waits), "count": len(waits)}
        )
    )


if __name__ == "__main__":
    main()
