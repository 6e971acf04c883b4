"""The demonstration database: an embedded server in a git-ignored folder, filled with made-up data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.table_move.database.connect import Database

FOLDER = Path(__file__).parents[3] / ".demo"


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The demonstration of a move: how its data are made, and the default owner that it brings."""

    create: Callable[..., None]
    default_business: str
    default_rows: int


def demo_database(schema: str, application_name: str) -> Database:
    """Start the embedded server, or join it. The database in it may not be there yet; see `ensure_demo`."""
    from pipelines.table_move.database.address import parse_url
    from pipelines.table_move.database.connect import Database
    from pipelines.table_move.database.embedded import start

    FOLDER.mkdir(exist_ok=True)
    url = start(FOLDER / "pgdata")
    return Database(parameters=parse_url(url), schema=schema, is_demo=True, application_name=application_name)


def ensure_demo(database: Database, demo: Demo, *, rows: int, reset: bool) -> bool:
    """Create the demonstration where it is not, or again. Returns whether it was created."""
    import psycopg2

    with database.session() as session, session.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'demo')")
        exists = cursor.fetchone()[0]
        session.rollback()
        session.set_session(autocommit=True)
        if exists and reset:
            cursor.execute("DROP DATABASE demo WITH (FORCE)")
        if not exists or reset:
            cursor.execute("CREATE DATABASE demo ENCODING 'UTF8' TEMPLATE template0")
    database.parameters["dbname"] = "demo"
    if exists and not reset:
        return False
    connection = psycopg2.connect(**database.parameters)
    try:
        demo.create(connection, rows=rows)
    finally:
        connection.close()
    return True
