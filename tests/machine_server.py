"""The machine's own PostgreSQL, if one is installed: a server of its own in a temporary folder, on a socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDERS = "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"


def binaries() -> Path | None:
    """The folder of the newest installed server."""
    found = [path for pattern in FOLDERS for path in Path("/").glob(f"{pattern[1:]}/postgres")]
    return max(found, key=lambda path: path.parts[-3], default=Path()).parent if found else None


@contextmanager
def started(folder: Path, *options: str) -> Iterator[str]:
    """The URL of its maintenance database. Postgres refuses to run as root: then it runs as its own user."""
    with tempfile.TemporaryDirectory(prefix="table-move-machine-") as place:
        data = Path(place) / "data"
        if os.geteuid() == 0:
            shutil.chown(place, user="postgres")

        def call(*command: str) -> None:
            as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
            subprocess.run([*as_user, *command], check=True, stdout=subprocess.DEVNULL, cwd=place)

        call(str(folder / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = " ".join(["-c listen_addresses=", f"-c unix_socket_directories={place}", "-c fsync=off", *options])
        call(str(folder / "pg_ctl"), "-D", str(data), "-o", settings, "-w", "-l", f"{place}/log", "start")
        try:
            yield f"postgresql:///postgres?host={place}&user=postgres"
        finally:
            call(str(folder / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")
