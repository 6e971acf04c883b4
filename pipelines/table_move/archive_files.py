"""The files of an archive: data only, compressed, readable by nobody else, and believed only to the last bit. Nothing
in them is executed, and no name in them is followed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.table_move.errors import ArchiveUnusable

ROWS, MANIFEST = "rows.copy.gz", "manifest.json"
_MANIFEST_BYTES = 1 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an archive is: which move and run, how many rows; sizes and SHA-256 of the file and of what is in it."""

    move: str
    run_id: int
    table: str
    columns: tuple[str, ...]
    rows: int
    bytes: int
    sha256: str
    plain_bytes: int
    plain_sha256: str
    format: int = 1

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "columns": list(self.columns)}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Manifest:
        return cls(**{**value, "columns": tuple(value["columns"])})


class Measured:
    """A file-like that counts and hashes what is written to it, and passes it on."""

    def __init__(self, onto: BinaryIO | None = None) -> None:
        self._onto = onto
        self._sha256 = hashlib.sha256()
        self.bytes = self.rows = 0

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def write(self, data: bytes) -> int:
        if self._onto is not None:
            self._onto.write(data)
        self._sha256.update(data)
        self.bytes += len(data)
        self.rows += data.count(b"\n")  # in COPY's text format a row is a line, whatever is in it
        return len(data)


def make_folder(parent: Path, name: str) -> Path:
    """A new folder of our own. Raises ArchiveUnusable where there is one of that name, or none can be made."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        place = parent / name
        place.mkdir(mode=0o700)
        _sync(parent)
    except OSError as problem:
        raise ArchiveUnusable(
            f"The archive could not be made in {parent}: {problem.strerror}.",
            untouched="The retired table is kept.",
            next_step="Name another folder with --archive, then run the same command again.",
        ) from problem
    return place


@contextmanager
def new_file(folder: Path, name: str) -> Iterator[BinaryIO]:
    """A file that is there whole or not at all: written under another name, synced, then renamed."""
    temporary = folder / f".writing-{name}"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, folder / name)
    _sync(folder)


@contextmanager
def rows_writer(folder: Path) -> Iterator[tuple[Measured, Measured]]:
    """What to write the rows to, and the measure of the file they become."""
    with new_file(folder, ROWS) as file:
        packed = Measured(file)
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=packed, mtime=0) as zipped:
            plain = Measured(zipped)
            yield plain, packed


def write_manifest(folder: Path, manifest: Manifest) -> None:
    with new_file(folder, MANIFEST) as file:
        file.write(json.dumps(manifest.as_json(), indent=2, ensure_ascii=False).encode() + b"\n")


def find(given: Path, name: str) -> Path:
    """The archive's folder: the one given, or the one of its name in it."""
    return given if (given / MANIFEST).is_file() else given / name


def check(folder: Path, expected: Manifest) -> None:
    """Raises ArchiveUnusable unless manifest and file are, to the last bit, what the journal says."""
    try:
        with open_file(folder / MANIFEST) as file:
            found = json.loads(file.read(_MANIFEST_BYTES))
        with open_file(folder / ROWS) as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256()
            while size == expected.bytes and (chunk := file.read(_CHUNK)):
                digest.update(chunk)
    except (OSError, ValueError) as problem:
        raise unusable(folder, str(problem)) from problem
    if found != expected.as_json():
        raise unusable(folder, "its manifest is not the one that the journal knows")
    if size != expected.bytes:
        raise unusable(folder, f"{ROWS} has {size} bytes and should have {expected.bytes}")
    if digest.hexdigest() != expected.sha256:
        raise unusable(folder, f"the SHA-256 of {ROWS} is not the one that the journal knows")


def open_file(path: Path) -> BinaryIO:
    """A regular file, for reading; no link is followed, and nothing waits for a pipe."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path.name} is no file")
    return os.fdopen(handle, "rb")


class BoundedRows:
    """The rows of an archive, for COPY: never more than the journal says, and measured on the way."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._rows = gzip.GzipFile(fileobj=file, mode="rb")
        self._limit = limit
        self.measure = Measured()
        self.problem: Exception | None = None  # COPY turns what its reader raises into an error of its own

    def read(self, size: int = _CHUNK) -> bytes:
        try:
            data = self._rows.read(min(size, self._limit - self.measure.bytes + 1))
            self.measure.write(data)
            if self.measure.bytes > self._limit:
                raise ValueError("there is more in it than the journal says")
        except (OSError, ValueError, EOFError, zlib.error) as problem:
            self.problem = problem
            raise
        return data


def unusable(folder: Path, why: str) -> ArchiveUnusable:
    return ArchiveUnusable(
        f"The archive {folder} cannot be used: {why}.",
        untouched="Nothing was changed.",
        next_step="Give the folder of the archive that `purge` named with --archive, or a copy that is not damaged.",
    )


def discard(folder: Path) -> None:
    """What an attempt wrote that did not come to its end."""
    for name in (ROWS, MANIFEST, f".writing-{ROWS}", f".writing-{MANIFEST}"):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
