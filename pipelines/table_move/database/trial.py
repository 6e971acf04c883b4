"""The move on a few real rows, in one transaction that is taken back: what the installation refuses, changes or keeps
shows before anything is copied. By the statements of the phases themselves, under a name of its own in the journal.

The rows that it locks are few and free, and the server ends it where this process does not. No lock is taken on a whole
table of the application: freeze and retirement are tried on a table made like the old one, in a schema made for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import pandas as pd
from psycopg2 import Error, extensions, sql

from pipelines.table_move.database import journal
from pipelines.table_move.database.asked import meddlers, require_count
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.back_names import back_names
from pipelines.table_move.database.claims import assign
from pipelines.table_move.database.copy import map_batch
from pipelines.table_move.database.extract import read_rows
from pipelines.table_move.database.hold import Hold, no_sleep
from pipelines.table_move.database.load import delete, insert, merge, stage, update
from pipelines.table_move.database.locking import AT_ONCE, persist
from pipelines.table_move.database.names import Names
from pipelines.table_move.database.patience import REFUSED as REFUSED_LOCKS
from pipelines.table_move.database.queries import query
from pipelines.table_move.database.references_back import references_back
from pipelines.table_move.database.rewire import rewire
from pipelines.table_move.database.server_error import ServerError, is_raised
from pipelines.table_move.errors import Blocked, GateClosed
from pipelines.table_move.pure.mapping import MappedRows
from pipelines.table_move.pure.trial import EVENTS, Act, Found, of_inserts
from pipelines.table_move.spec import Referencing

# No answer of the installation: the connection, no room, an end of the server.
_PASSING = ("08", "40001", "53", "57", "58")
_TRIES, _BETWEEN = 5, 0.05  # where somebody holds what a step needs; seconds
_ENDS = 30  # seconds that any one statement may take once rows are locked
_APART = "trial_"  # in front of the move's name: what earlier attempts left in the journal is not touched


def try_out(attempt: Attempt, *, assigned: Mapping[str, str] | None) -> list[Found]:
    """Try the move. Nothing that it writes stays; numbers taken from sequences do. Returns what went otherwise.

    attempt: before it has a number. assigned: the owners that a person names in this call.
    """
    names = attempt.names
    move = replace(names.move, name=_APART + names.move.name[: 31 - len(_APART)])
    apart = replace(attempt, located=replace(attempt.located, names=replace(names, move=move)))
    return persist(attempt, lambda: _try_once(apart, assigned))


def _try_once(attempt: Attempt, assigned: Mapping[str, str] | None) -> list[Found]:
    with attempt.database.session() as session, session.cursor() as cursor:
        trial = _Trial(attempt=attempt, cursor=cursor)
        trial.run(assigned)
        session.rollback()
    return trial.found


@dataclass
class _Trial:
    """found: what did not go as it has to, in the order in which it was met."""

    attempt: Attempt
    cursor: extensions.cursor
    found: list[Found] = field(default_factory=list)

    def run(self, assigned: Mapping[str, str] | None) -> None:
        if not journal.exists(self.cursor) and not self._passes(
            Act.JOURNAL, None, partial(journal.create, self.cursor)
        ):
            return
        new, there = self._choose(assigned)
        self._within_the_pause()
        self._step(Act.INSERT, self.attempt.names.target, partial(self._note_as_present, there))
        inserted = self._insert(new, there)
        self._update(inserted)
        if self._references():
            self._delete(inserted)
        self._passes(Act.RETIRE, None, partial(_freeze_and_retire, self.cursor, self.attempt.names))

    def _choose(self, assigned: Mapping[str, str] | None) -> tuple[MappedRows, MappedRows]:
        """The chosen rows, mapped: those that are new, and those that stand in the target already."""
        cursor, names = self.cursor, self.attempt.names
        cursor.execute(names.query("trial.choose"), {"bytes": self.attempt.settings.batch_bytes})
        chosen = [key for (key,) in cursor]
        self._assign(chosen, assigned)
        cursor.execute(names.query("trial.touch"), {"source_ids": chosen})
        cursor.execute(names.query("copy.build_claims_of_touched"))
        rows = read_rows(cursor, names, names.touched(names.source_id), with_map=True)
        mapped = map_batch(self.attempt, rows)
        mapped = MappedRows(pairs=mapped.pairs, rejected=mapped.rejected.iloc[:0])
        there = rows["source_id"][rows["present"].notna()].tolist()
        return mapped.only(there, without=True), mapped.only(there, without=False)

    def _assign(self, chosen: list[str], assigned: Mapping[str, str] | None) -> None:
        """The owners that a person has named for them, in this call or in an earlier one."""
        if assigned is None:
            of = self.attempt.names.key.removeprefix(_APART)
            self.cursor.execute(self.attempt.names.query("trial.assigned"), {"of": of, "source_ids": chosen})
        elif named := {key: assigned[key] for key in chosen if key in assigned}:
            assign(self.cursor, self.attempt.names, named)

    def _within_the_pause(self) -> None:
        """From here rows are locked: nobody is waited for, and the server ends what takes too long or sleeps."""
        self.cursor.execute(AT_ONCE)
        self.cursor.execute("SELECT set_config('statement_timeout', %s, true)", (f"{_ENDS}s",))
        no_sleep(self.cursor)

    def _note_as_present(self, there: MappedRows) -> None:
        names, hold = self.attempt.names, Hold(self.cursor, None)
        with _staged(self.cursor, names, there):
            merge(hold, names, there, run_id=0, keep_target=self.attempt.keep_target)

    def _insert_one(self, row: MappedRows) -> None:
        with _staged(self.cursor, self.attempt.names, row):
            insert(Hold(self.cursor, None), self.attempt.names, row, run_id=0)

    def _insert(self, new: MappedRows, there: MappedRows) -> MappedRows:
        """Row by row, so that each answer has its row. Returns those that stand in the target now."""
        names, met = self.attempt.names, {}
        for key in new.pairs["source_id"].unique():
            write = partial(self._insert_one, new.only([key], without=False))
            if (found := self._step(Act.INSERT, names.target, write)) is not None:
                met[key] = found
        pairs = pd.concat([new.pairs, there.pairs])
        self.found += of_inserts(
            dict(zip(pairs["source_id"], pairs["source_id"] == pairs["target_id"], strict=True)), met
        )
        return new.only(met.keys(), without=True)

    def _update(self, inserted: MappedRows) -> None:
        """To the same values: whatever fires on an update fires."""
        cursor, names, keys = self.cursor, self.attempt.names, [(key,) for key in inserted.pairs["target_id"]]

        def once() -> None:
            with _staged(cursor, names, inserted):
                cursor.execute(names.query("load.stage_loaded"))
                got = update(Hold(cursor, None), names, keys)
            require_count(cursor, names.target, "UPDATE", asked=len(keys), got=got)

        if keys:
            self._passes(Act.UPDATE, names.target, once)

    def _references(self) -> bool:
        """Forth and back, table by table. Returns whether all of them are as they were."""
        cursor, names = self.cursor, self.attempt.names
        cursor.execute(query("trial.make_free"))
        cursor.execute(names.query("trial.candidates"))
        found = cursor.fetchall()
        held = {(key.schema, key.table) for key in self.attempt.located.facts.foreign_keys}
        tables = [table for table in names.references if (names.schema, table.table) not in held]
        passed = [self._references_of(table, [key for name, key in found if name == table.table]) for table in tables]
        return all(passed)

    def _references_of(self, table: Referencing, keys: list[str]) -> bool:
        cursor, names = self.cursor, self.attempt.names
        identifier = names.table(table.table)
        cursor.execute(query("trial.lock_free", table=identifier, key=sql.Identifier(table.key)), {"keys": keys})
        chosen = query("trial.chosen", table_name=sql.Literal(table.table))
        change = partial(rewire, cursor, self.attempt, in_question=chosen)
        if not cursor.rowcount or not self._passes(Act.REFERENCES, identifier, change):
            return True
        back = back_names(cursor, self.attempt.located, switched=True)
        return self._passes(Act.REFERENCES_BACK, identifier, partial(references_back, cursor, back))

    def _delete(self, inserted: MappedRows) -> None:
        names, keys = self.attempt.names, [(key,) for key in inserted.pairs["target_id"]]
        if keys:
            self._passes(Act.DELETE, names.target, partial(delete, Hold(self.cursor, None), names, keys))

    def _passes(self, act: Act, table: sql.Identifier | None, action: Callable[[], object]) -> bool:
        found = self._step(act, table, action)
        self.found += [] if found is None or found.says_nothing else [found]
        return found is None

    def _step(self, act: Act, table: sql.Identifier | None, action: Callable[[], object]) -> Found | None:
        """None where it went as it has to. Else it is taken back, and what was met comes."""
        for tries in range(_TRIES):
            time.sleep(_BETWEEN if tries else 0)
            self.cursor.execute("SAVEPOINT step")
            try:
                action()
            except (Blocked, GateClosed) as problem:
                met = {"answer": problem.happened}
                break
            except Error as problem:
                raised = is_raised(problem)
                if not raised and (not problem.pgcode or problem.pgcode.startswith(_PASSING)):
                    raise
                met = {"sqlstate": problem.pgcode, "answer": str(ServerError.of(problem)), "raised": raised}
                if raised or not isinstance(problem, REFUSED_LOCKS):
                    break
            else:
                return None
            self.cursor.execute("ROLLBACK TO SAVEPOINT step")
        self.cursor.execute("ROLLBACK TO SAVEPOINT step")
        where = "The database" if table is None else ".".join(table.strings)
        return Found(act=act, table=where, meddlers=tuple(_meddlers(self.cursor, act, table)), **met)


@contextmanager
def _staged(cursor: extensions.cursor, names: Names, rows: MappedRows) -> Iterator[None]:
    stage(cursor, names, rows)
    yield
    cursor.execute("DROP TABLE IF EXISTS pg_temp.staged, pg_temp.staged_rejected, pg_temp.loaded")


def _meddlers(cursor: extensions.cursor, act: Act, table: sql.Identifier | None) -> Iterator[str]:
    if table is None:
        cursor.execute(query("surroundings.event_triggers"))
        yield from (f"event trigger {name} ({event})" for name, event in cursor)
        return
    for name in meddlers(cursor, table, EVENTS[act]):
        yield f"{name} on {'.'.join(table.strings)}"


def _freeze_and_retire(cursor: extensions.cursor, names: Names) -> None:
    """And back, and the end of it: on a table like the old one, of the same name, in a schema of its own."""
    pid = cursor.connection.info.backend_pid
    home, away = (sql.Identifier(f"pipelines_{part}_{pid}") for part in ("trial", "retired_trial"))
    like, retired = (replace(names, source_schema=schema.string) for schema in (home, away))
    cursor.execute(sql.SQL("CREATE SCHEMA {}").format(home))
    cursor.execute(query("trial.table_like", table=like.source, source=names.source))
    cursor.execute(like.query("cutover.freeze", frozen_for=sql.Literal(names.frozen_names)))
    cursor.execute(sql.SQL("CREATE SCHEMA {}").format(away))
    cursor.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(like.source, away))
    cursor.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(retired.source, home))
    cursor.execute(sql.SQL("DROP SCHEMA {}").format(away))
    cursor.execute(like.query("rollback.thaw"))
    cursor.execute(like.query("rollback.drop_freeze"))
    cursor.execute(sql.SQL("DROP TABLE {}").format(like.source))
    cursor.execute(sql.SQL("DROP SCHEMA {}").format(home))
