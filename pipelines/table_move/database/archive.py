"""The rows of a table into an archive, the proof that they are in it, and out of it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg2 import Error, extensions, sql

from pipelines.table_move import archive_files
from pipelines.table_move.archive_files import BoundedRows, Manifest, Measured
from pipelines.table_move.database.names import Names
from pipelines.table_move.errors import ArchiveUnusable
from pipelines.table_move.pure.description import Description


def write_archive(
    cursor: extensions.cursor, names: Names, description: Description, *, run_id: int, folder: Path
) -> Manifest:
    """The rows in the order of their keys, and the manifest. Undo: `archive_files.discard`."""
    with _written(folder), archive_files.rows_writer(folder) as (plain, packed):
        cursor.copy_expert(_copy_out(names, description), plain)
    manifest = Manifest(
        move=names.key,
        run_id=run_id,
        table=description.table,
        columns=description.written_columns,
        rows=plain.rows,
        bytes=packed.bytes,
        sha256=packed.sha256,
        plain_bytes=plain.bytes,
        plain_sha256=plain.sha256,
    )
    with _written(folder):
        archive_files.write_manifest(folder, manifest)
    return manifest


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Raises ArchiveUnusable where the disk is full, or refuses."""
    try:
        yield
    except OSError as problem:
        raise ArchiveUnusable(
            f"The archive could not be written to {folder}: {problem.strerror}.",
            untouched="The retired table is kept.",
            next_step="Make room, or name another folder with --archive, then run the same command again.",
        ) from problem


def prove_archive(
    cursor: extensions.cursor, names: Names, description: Description, manifest: Manifest, folder: Path
) -> None:
    """Read it back and compare it with the table, row by row in the same order. Raises ArchiveUnusable."""
    archive_files.check(folder, manifest)
    with archive_files.open_file(folder / archive_files.ROWS) as file:
        rows = BoundedRows(file, manifest.plain_bytes)
        while rows.read():
            pass
    prove_rows(cursor, names, description, manifest)
    if (rows.measure.rows, rows.measure.sha256) != (manifest.rows, manifest.plain_sha256):
        raise ArchiveUnusable(
            f"The archive {folder} does not hold what was written to it.",
            untouched="The retired table is kept.",
            next_step="Name a folder on another disk with --archive, then run the same command again.",
        )


def prove_rows(cursor: extensions.cursor, names: Names, description: Description, manifest: Manifest) -> None:
    """The rows of the table are those of the manifest. Raises ArchiveUnusable."""
    table = Measured()
    cursor.copy_expert(_copy_out(names, description), table)
    if (table.rows, table.sha256) != (manifest.rows, manifest.plain_sha256):
        raise ArchiveUnusable(
            f"{names.source_schema}.{description.table} has other rows than its archive.",
            untouched="The transaction was rolled back; nothing was changed.",
            next_step="Look at triggers that change what is written, then run the same command again.",
        )


def load_archive(
    cursor: extensions.cursor, names: Names, description: Description, manifest: Manifest, folder: Path
) -> None:
    """The rows into the table that was built for them. Raises ArchiveUnusable."""
    columns = sql.SQL(", ").join(map(sql.Identifier, manifest.columns))
    statement = names.query("purge.copy_back", table=names.source, columns=columns)
    with archive_files.open_file(folder / archive_files.ROWS) as file:
        rows = BoundedRows(file, manifest.plain_bytes)
        try:
            cursor.copy_expert(statement, rows)
        except Error:
            if rows.problem is not None:
                raise archive_files.unusable(folder, str(rows.problem)) from rows.problem
            raise
    if rows.measure.sha256 != manifest.plain_sha256:
        raise archive_files.unusable(folder, "its rows are not those that the journal knows")


def _copy_out(names: Names, description: Description) -> sql.Composable:
    return names.query(
        "purge.copy_out",
        columns=sql.SQL(", ").join(sql.Identifier("s", name) for name in description.written_columns),
        table=names.source,
        key=sql.Identifier(names.move.source.key),
    )
