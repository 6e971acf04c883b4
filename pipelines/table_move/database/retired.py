"""The retired table on its way out: what keeps it from being purged, the purge, and its return from the archive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from psycopg2 import extensions, sql

from pipelines.table_move import archive_files
from pipelines.table_move.archive_files import Manifest
from pipelines.table_move.database import journal
from pipelines.table_move.database.archive import load_archive, prove_archive, prove_rows, write_archive
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.catalog import Located, relation
from pipelines.table_move.database.describe import create, describe, finish, unsupported
from pipelines.table_move.database.locking import (
    ARCHIVING,
    READERS,
    REBUILDING,
    keep_waiting_no_longer,
    lock_at_once,
    locking,
    persist,
)
from pipelines.table_move.database.names import Names
from pipelines.table_move.database.place import database_id
from pipelines.table_move.database.queries import query
from pipelines.table_move.database.rewire import rewire
from pipelines.table_move.database.world import read_server
from pipelines.table_move.errors import Blocked, Blocker
from pipelines.table_move.own_folder import folder_name
from pipelines.table_move.pure.description import Description
from pipelines.table_move.pure.surroundings import Surroundings
from pipelines.table_move.status import Milestone

DEFAULT_FOLDER = Path("archive")
_KEPT = "The transaction was rolled back: the retired table is kept, whole."
_GONE = "The transaction was rolled back, and the archive is untouched."


@dataclass(frozen=True, kw_only=True)
class Retired:
    """A purged table as the journal knows it. `folder` is where its archive was written."""

    description: Description
    manifest: Manifest
    folder: str


@dataclass(frozen=True, kw_only=True)
class Purged:
    """What a purge did: where the archive is, what it is, and how many late references followed before."""

    folder: Path
    manifest: Manifest
    rewired: int

    def as_dict(self) -> dict[str, object]:
        """What JSON and report say of it."""
        one = self.manifest
        return {"archive": str(self.folder), "rows": one.rows, "bytes": one.bytes, "sha256": one.sha256}


def purge_blockers(cursor: extensions.cursor, located: Located, around: Surroundings) -> Iterator[Blocker]:
    """What the vocabulary of the description has no word for, or what needs the table."""
    source = located.facts.source
    if source is None:
        return
    needed = [(dependent.kind, dependent.name, "") for dependent in around.dependents]
    if located.facts.is_retired:  # before, they leave with the switch
        needed += [("foreign key", f"{key.name} of {key.schema}.{key.table}", "") for key in located.facts.foreign_keys]
    for kind, name, away in (*unsupported(cursor, source.oid), *needed):
        yield Blocker(
            code="not_describable",
            message=f"{source.label} has what could not be built again from its description: {kind} {name}.",
            remedy=f"{away} -- or keep the retired table"
            if away
            else f"Keep the retired table, or take the {kind} away first; then run the same command again.",
        )


def purge(attempt: Attempt) -> Purged:
    """Archive, prove, drop, under one lock and in one transaction. Undo: `rebuild`. Any failure before: all is kept."""
    return persist(attempt, lambda: _purge_once(attempt))


def _purge_once(attempt: Attempt) -> Purged:
    names, oid = attempt.names, attempt.located.facts.source.oid
    folder = None
    committing = False
    try:
        with locking(attempt, ARCHIVING, first=names.query("purge.lock_for_archive")) as cursor:
            _require_describable(cursor, attempt)
            description = describe(cursor, oid, names.move.source.table)
            parent = attempt.settings.archive or DEFAULT_FOLDER
            folder = archive_files.make_folder(parent, _folder_name(cursor, attempt))
            manifest = write_archive(cursor, names, description, run_id=attempt.run_id, folder=folder)
            prove_archive(cursor, names, description, manifest, folder)
            lock_at_once(cursor, names.query("purge.lock_for_drop"), seconds=attempt.settings.lock_wait)
            keep_waiting_no_longer(cursor, READERS)
            attempt.hold_fence(cursor)
            rewired = rewire(cursor, attempt)  # after it names without a schema may be the application's
            _note(cursor, attempt, description, manifest, folder)
            cursor.execute(sql.SQL("DROP TABLE {}").format(names.source))
            cursor.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(names.source_schema)))
            journal.reach(cursor, names.key, attempt.run_id, Milestone.PURGED)
            committing = True
    except BaseException:
        # An unanswered commit may have dropped the table: then the archive is all there is.
        if folder is not None and not committing:
            archive_files.discard(folder)
        raise
    return Purged(folder=folder, manifest=manifest, rewired=rewired)


def _folder_name(cursor: extensions.cursor, attempt: Attempt) -> str:
    database = read_server(cursor).database
    return folder_name(database, database_id(cursor), f"{attempt.names.key}-run-{attempt.run_id}")


def _require_describable(cursor: extensions.cursor, attempt: Attempt) -> None:
    if found := unsupported(cursor, attempt.located.facts.source.oid):
        raise Blocked(
            "The retired table has what could not be built again: "
            + ", ".join(f"{kind} {name}" for kind, name, _ in found)
            + ".",
            untouched=_KEPT,
            next_step=" ".join(
                [
                    *(away for _, _, away in found if away),
                    "Take these away, or keep the table; then run the same command again.",
                ]
            ),
        )


def _note(
    cursor: extensions.cursor, attempt: Attempt, description: Description, manifest: Manifest, folder: Path
) -> None:
    values = {
        "run_id": attempt.run_id,
        "description": json.dumps(description.as_json()),
        "archive": json.dumps({"folder": str(folder.resolve()), "manifest": manifest.as_json()}),
    }
    cursor.execute(attempt.names.query("purge.note_retired"), values)


def load_retired(cursor: extensions.cursor, move: str) -> Retired | None:
    """What the journal knows of a purged table."""
    cursor.execute(query("purge.retired"), {"move": move})
    row = cursor.fetchone()
    if row is None:
        return None
    return Retired(
        description=Description.of_json(row[1]),
        manifest=Manifest.of_json(row[2]["manifest"]),
        folder=row[2]["folder"],
    )


def missing_roles(cursor: extensions.cursor, retired: Retired) -> Iterator[Blocker]:
    """A dump has no roles: what a purged table is built from may name some that another server does not have."""
    described = retired.description
    cursor.execute(query("purge.missing_roles"), {"roles": [described.owner, *(one.role for one in described.grants)]})
    for (role,) in cursor:
        yield Blocker(
            code="missing_role",
            message=f"The purged table belongs to the role {role}, or gave it rights; this server has no such role.",
            remedy=f"CREATE ROLE {role};",
        )


def rebuild(attempt: Attempt, retired: Retired, folder: Path) -> None:
    """The old table from the journal's description, with the rows of the archive, frozen, where it was before the move.
    Undo: `cutover.retire`. Raises ArchiveUnusable or Blocked; then nothing has changed."""
    names = replace(attempt.names, is_purged=False, source_schema=attempt.names.schema)
    persist(attempt, lambda: _rebuild_once(attempt, names, retired, folder))


def _rebuild_once(attempt: Attempt, names: Names, retired: Retired, folder: Path) -> None:
    description, manifest = retired.description, retired.manifest
    with locking(attempt, REBUILDING) as cursor:
        create(cursor, description, names.schema)
        oid = relation(cursor, names.schema, description.table).oid
        load_archive(cursor, names, description, manifest, folder)
        prove_rows(cursor, names, description, manifest)
        attempt.hold_fence(cursor)  # not before: no server ends a COPY that waits for its client
        finish(cursor, description, names.schema, oid)
        _require_same(describe(cursor, oid, description.table), description)
        cursor.execute(names.query("cutover.freeze", frozen_for=sql.Literal(names.frozen_names)))
        cursor.execute(sql.SQL("ANALYZE {}").format(names.source))
        cursor.execute(names.query("purge.new_oid"), {"oid": oid, "run_id": attempt.run_id})
        journal.reach(cursor, names.key, attempt.run_id, Milestone.SWITCHED)


def _require_same(found: Description, wanted: Description) -> None:
    if not wanted.has_grants:  # the owner's alone, said or unsaid
        found = replace(found, has_grants=False, grants=())
    different = [name for name in wanted.__dict__ if getattr(found, name) != getattr(wanted, name)]
    if different:
        raise Blocked(
            f"The table that was built differs from its description in: {', '.join(different)}.",
            untouched=_GONE,
            next_step="Look at event triggers and default privileges of the database, then run the same command again.",
        )
