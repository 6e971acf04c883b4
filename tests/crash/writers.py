"""An application at full speed, with its own history of what the database has acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

import psycopg2

OVER = ("55000", "42P01")  # the freeze, and then the missing table: the only errors that an application may meet
ROWS_EACH = 20


@dataclass
class History:
    """What was acknowledged last. Values are unique, so that a lost or an older one is seen.

    templates: text by old id, None where the row was deleted. stages: old id and name by stage.
    """

    templates: dict[str, str | None] = field(default_factory=dict)
    stages: dict[str, tuple[str, str]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    longest: float = 0.0  # seconds


class Writer(threading.Thread):
    """One session with registers of its own: rows of the old table, and stages that refer to them.

    Transactions lock stages and templates in either order, as an application does that knows no order.
    """

    def __init__(self, url: str, number: int, business: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.history = History()
        self._number, self._business, self._over = number, business, stop
        self._random = random.Random(number)
        self._connection = psycopg2.connect(url, application_name="application")
        self._cursor = self._connection.cursor()
        self._count = 0
        self._old_world = True
        self._kept = [f"writer-{number}-{place}" for place in range(ROWS_EACH)]
        self._stages = [str(UUID(int=(number + 1) * 10_000 + place)) for place in range(ROWS_EACH)]
        for key, stage in zip(self._kept, self._stages, strict=True):
            self._insert(key)
            self._cursor.execute(
                "INSERT INTO stages (stage_id, business_id, stage_name, stage_description, stage_type,"
                " data_extraction_template_id) VALUES (%s, %s, 'new', 'd', 't', %s)",
                (stage, business, key),
            )
            self.history.stages[stage] = (key, "new")
        self._connection.commit()

    def run(self) -> None:
        while not self._over.is_set():
            self._count += 1
            templates, stages = self._write() if self._old_world else self._rename()
            if templates is None:
                continue
            self.history.templates |= templates
            self.history.stages |= stages
            self.history.acknowledged += 1
        self._connection.close()

    def _write(self) -> tuple[dict[str, str | None] | None, dict[str, tuple[str, str]]]:
        """One transaction of the old world: what it changed, None where it was refused."""
        key, stage, text = self._random.choice(self._kept), self._random.choice(self._stages), self._value()
        passing, gone = f"passing-{self._number}-{self._count}", f"passing-{self._number}-{self._count - 3}"
        name = self._value()
        steps = [
            ("UPDATE prompt_templates SET template_text = %s WHERE template_id = %s", (text, key)),
            ("UPDATE stages SET data_extraction_template_id = %s, stage_name = %s WHERE stage_id = %s", (key, name, stage)),
            ("INSERT INTO prompt_templates VALUES (%s, %s, 'd')", (passing, text)),
            ("DELETE FROM prompt_templates WHERE template_id = %s", (gone,)),
        ]  # fmt: skip
        self._random.shuffle(steps)
        done = self._transaction(steps)
        return ({key: text, passing: text, gone: None} if done else None), {stage: (key, name)}

    def _rename(self) -> tuple[dict[str, str | None] | None, dict[str, tuple[str, str]]]:
        """After the switch: the stages live on."""
        stage, name = self._random.choice(self._stages), self._value()
        done = self._transaction([("UPDATE stages SET stage_name = %s WHERE stage_id = %s", (name, stage))])
        return ({} if done else None), {stage: (self.history.stages[stage][0], name)}

    def _transaction(self, steps: list[tuple[str, tuple[str, ...]]]) -> bool:
        started = time.monotonic()
        try:
            for step in steps:
                self._cursor.execute(*step)
            self._connection.commit()
        except psycopg2.Error as problem:
            self._connection.rollback()
            self.history.errors[problem.pgcode or str(problem)] += 1
            self._old_world = self._old_world and problem.pgcode not in OVER
            return False
        finally:
            self.history.longest = max(self.history.longest, time.monotonic() - started)
        return True

    def _insert(self, key: str) -> None:
        text = self._value()
        self._cursor.execute("INSERT INTO prompt_templates VALUES (%s, %s, 'd')", (key, text))
        self.history.templates[key] = text

    def _value(self) -> str:
        return f"{self._number}:{self._count}:{self._random.getrandbits(48):x}"


class Reader(threading.Thread):
    """Follows references: whatever it finds, in the old world or in the new, has to be there."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.errors: Counter[str] = Counter()
        self.count, self.dangling, self.longest = 0, 0, 0.0
        self._over = stop
        self._connection = psycopg2.connect(url, application_name="application")
        self._connection.autocommit = True

    def run(self) -> None:
        cursor, chance = self._connection.cursor(), random.Random()
        tables = ["prompt_templates", "templates"]
        while not self._over.is_set():
            started = time.monotonic()
            found = " UNION ALL ".join(f"SELECT template_id::text FROM {table}" for table in tables)
            stage = str(UUID(int=chance.randint(1, 8) * 10_000 + chance.randrange(ROWS_EACH)))
            try:
                # One statement sees all references old or all new.
                cursor.execute(
                    f"SELECT count(*) FROM stages s WHERE stage_id = %s AND NOT EXISTS"
                    f" (SELECT FROM ({found}) t WHERE t.template_id = s.data_extraction_template_id)",
                    (stage,),
                )
                self.dangling += cursor.fetchone()[0]
                self.count += 1
            except psycopg2.Error as problem:
                self.errors[problem.pgcode or str(problem)] += 1
                tables = tables[-1:] if problem.pgcode == "42P01" else tables
            self.longest = max(self.longest, time.monotonic() - started)
        self._connection.close()
