"""Up and down: in order, one at a time, each noted as soon as it stands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from yoyo.migrations import Migration as YoyoMigration

from pipelines.migrations import history
from pipelines.migrations.backend import AT_WORK, Backend
from pipelines.migrations.files import Migration, way_back
from pipelines.migrations.history import Line, State
from pipelines.migrations.sentences import Sentences
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.in_the_way import LET_THEM, in_the_way_of_files
from pipelines.table_move.database.lock import exclusive
from pipelines.table_move.database.patience import REFUSED, again
from pipelines.table_move.database.server_error import ServerError
from pipelines.table_move.errors import AnotherRunActive, Blocked, NotInTime, UsageProblem

LOCK = "migrations"  # the advisory lock of all that apply numbered files

Agree = Callable[[Sequence[Migration]], None]
Say = Callable[[str], None]

_TOLD_ELSEWHERE = ("08", "57", "40", "53", "55P03", "25", "28", "42501")  # of any statement, in the same words


def up(
    database: Database,
    migrations: Sequence[Migration],
    settings: Mapping[str, str],
    *,
    to: int | None = None,
    only: Migration | None = None,
    agree: Agree,
    say: Say,
) -> list[str]:
    """Apply what is pending, up to a number. only: this file alone. Returns the names of what was applied.

    agree: is told what is going to be applied, before anything is written, and raises where it must not be.
    """
    last = only.number if only else to if to is not None else len(migrations)
    _require_known(last, migrations, lowest=1)
    wanted = _pending(_sound(database, migrations), last, only)
    agree(wanted)
    with _working(database, settings) as (backend, notices):
        lines = _sound(database, migrations)
        _require_same(wanted, _pending(lines, last, only))
        for line in lines:
            if line.state is State.BY_HAND:
                _adopt(backend, line.migration)
        for migration in wanted:
            say(f"{migration.name} …")
            if backend.is_applied(_yoyo(migration)):  # psql has taken it back
                backend.unmark_migrations([_yoyo(migration)])
            with _told(migration, migration.path, "applied", notices, say):
                _patiently(database, migration, lambda migration=migration: backend.apply_one(_yoyo(migration)))
            history.note(backend.cursor(), migration)
        return [migration.name for migration in wanted]


def down(
    database: Database,
    migrations: Sequence[Migration],
    settings: Mapping[str, str],
    *,
    to: int | None = None,
    agree: Agree,
    say: Say,
) -> list[str]:
    """Take back what is above a number, the newest first; without a number, the newest alone. Returns the names.

    agree: is told what is going to be taken back, before anything is written, and raises where it must not be.
    """
    if to is not None:
        _require_known(to, migrations, lowest=0)
    wanted = _above(_sound(database, migrations), to)
    agree(wanted)
    if not wanted:
        return []
    with _working(database, settings) as (backend, notices):
        _require_same(wanted, _above(_sound(database, migrations), to))
        for migration in wanted:
            say(f"{migration.name}, back …")
            with _told(migration, way_back(migration), "taken back", notices, say):
                _patiently(database, migration, lambda migration=migration: backend.rollback_one(_yoyo(migration)))
            history.forget(backend.cursor(), migration)
        return [migration.name for migration in wanted]


def _pending(lines: Sequence[Line], last: int, only: Migration | None) -> list[Migration]:
    pending = [line.migration for line in lines if line.state is State.PENDING and line.number <= last]
    if only and any(migration.number < only.number for migration in pending):
        raise Blocked(
            f"{pending[0].name} has to be applied before {only.name}.",
            untouched="Nothing was applied.",
            next_step=f"python -m pipelines.migrations up --to {only.number:02d}",
        )
    return pending


def _above(lines: Sequence[Line], to: int | None) -> list[Migration]:
    applied = [line.migration for line in reversed(lines) if line.state is not State.PENDING]
    return applied[:1] if to is None else [migration for migration in applied if migration.number > to]


def _require_same(agreed: Sequence[Migration], found: Sequence[Migration]) -> None:
    if agreed != found:
        raise AnotherRunActive(
            "Somebody has applied a file, or taken one back, since this call looked.",
            untouched="This call changed nothing.",
            next_step="`python -m pipelines.migrations status` shows what is applied now; run the same command again.",
        )


def status(database: Database, migrations: Sequence[Migration]) -> list[Line]:
    """Every number and what is known of it. Reads only, and creates nothing."""
    with database.reading() as cursor:
        return history.look(cursor, migrations)


@contextmanager
def _working(database: Database, settings: Mapping[str, str]) -> Iterator[tuple[Backend, list[str]]]:
    """One at a time, with the history's tables in place. Raises Blocked on a standby."""
    with database.reading() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        if cursor.fetchone()[0]:
            raise Blocked(
                "The server is a standby, which takes no writes.",
                untouched="Nothing was written.",
                next_step="Give the URL of the primary server, then run the same command again.",
            )
    logging.getLogger("yoyo").setLevel(logging.CRITICAL)  # what it logs is told as an error of ours
    with exclusive(database, LOCK):
        with exclusive(database, AT_WORK):
            pass  # the server has left the file of a killed client
        with database.writing() as cursor:
            history.prepare(cursor)
        notices: list[str] = []
        with Backend(database, settings, path=history.SCHEMA, notices=notices) as backend:
            backend.ensure_internal_schema_updated()
            yield backend, notices


def _sound(database: Database, migrations: Sequence[Migration]) -> list[Line]:
    lines = status(database, migrations)
    history.require_sound(lines)
    return lines


def _adopt(backend: Backend, migration: Migration) -> None:
    """psql applied it: from here on its bytes are known, too."""
    yoyo = _yoyo(migration)
    if not backend.is_applied(yoyo):
        backend.mark_migrations([yoyo])
    history.note(backend.cursor(), migration)


def _yoyo(migration: Migration) -> YoyoMigration:
    return YoyoMigration(migration.name, str(migration.path), str(migration.path.parent))


@contextmanager
def _told(migration: Migration, file: Path, done: str, notices: list[str], say: Say) -> Iterator[None]:
    """What the file says while it runs, and what it ends with, as errors of ours; lost connections pass through."""
    notices.clear()
    sentences = Sentences(file)
    try:
        yield
    except psycopg2.Error as problem:
        server, own = ServerError.of(problem), sentences.of_error(problem)
        if not server.sqlstate or (own is None and server.sqlstate.startswith(_TOLD_ELSEWHERE)):
            raise
        said, hint = own or (f"{server}{sentences.place(problem)}", None)
        kind = {"55006": AnotherRunActive, "55P03": NotInTime}.get(server.sqlstate, Blocked)
        raise kind(
            f"{migration.name} was not {done}: {said}" + (f" (SQLSTATE {server.sqlstate})." if own else "."),
            untouched=_kept(migration),
            next_step=hint
            or f"Put {migration.path.name} or {way_back(migration).name} right. Then run the same command again.",
        ) from problem
    finally:
        for text in filter(None, map(sentences.of_notice, notices)):
            say(f"  {text}")


def _patiently(database: Database, migration: Migration, work: Callable[[], None]) -> None:
    """Again until `lock_timeout` is over: each single wait ends before the server looks for a deadlock."""
    try:
        again(work, seconds=database.lock_timeout)
    except REFUSED as problem:
        raise NotInTime(
            f"The locks for {migration.name} were not to be had in time{in_the_way_of_files(database)}.",
            untouched=_kept(migration),
            next_step=LET_THEM.format("--lock-timeout"),
        ) from problem


def _kept(migration: Migration) -> str:
    if migration.is_transactional:
        return f"Nothing of {migration.name} was kept; what stood before it stands."
    return f"{migration.name} is no transaction: what it had done was taken back or stays, and is met again as it is."


def _require_known(number: int, migrations: Sequence[Migration], *, lowest: int) -> None:
    if not lowest <= number <= len(migrations):
        raise UsageProblem(
            f"There is no migration {number:02d}; there are {lowest:02d} to {len(migrations):02d}.",
            untouched="Nothing was read or written.",
            next_step="python -m pipelines.migrations status lists them.",
        )
