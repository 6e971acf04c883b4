"""Folders of our own, for what is not everybody's: named after their database, closed to others, and no link in their
place is followed."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

_NAME = 40  # characters of a database's name in a folder's


def folder_name(database: str, database_id: str, what: str) -> str:
    """A name that no other database has, whatever a schema or a database is called (../../etc).

    database_id: tells apart databases of the same name, see `database.place`.
    """
    return f"{_plain(database)[:_NAME]}-{database_id}-{_plain(what)}"


def _plain(name: str) -> str:
    return re.sub(r"[^\w-]", "-", name)


@dataclass(frozen=True)
class OwnFolder:
    """An open folder. Files in it are written whole or not at all, and can be read by their owner alone."""

    handle: int

    def write(self, name: str, text: str) -> None:
        temporary = f".writing-{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=self.handle), "w", encoding="utf-8") as file:
                file.write(text)
            os.rename(temporary, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=self.handle)
            raise

    def clear(self, pattern: str) -> None:
        """Remove the files of an earlier writing."""
        for name in os.listdir(self.handle):
            if fnmatch(name, pattern):
                os.unlink(name, dir_fd=self.handle)


@contextmanager
def own_folder(place: Path) -> Iterator[OwnFolder]:
    """The folder, made where it is not there. Raises OSError for a link in its place, and for somebody else's."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        place.mkdir(mode=0o700)
    if place.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, and links are not followed")
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            raise OSError(errno.EPERM, "the folder belongs to somebody else")
        os.fchmod(handle, 0o700)
        yield OwnFolder(handle)
    finally:
        os.close(handle)
