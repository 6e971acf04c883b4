"""Where the world stands, read from the journal; and which server, database and role we are connected to."""

from __future__ import annotations

from dataclasses import replace

from psycopg2 import extensions

from pipelines.table_move.database import journal
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.queries import query
from pipelines.table_move.pure.world import Server, Where, World
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Milestone


def look_where(database: Database, move: Move, *, briefly: bool = False) -> Where:
    """In a session of its own. briefly: somebody waits to be told of a failure."""
    if briefly:
        database = replace(database, parameters={**database.parameters, "connect_timeout": "3"}, lock_wait=2)
    with database.reading() as cursor:
        return Where(server=read_server(cursor), world=read_world(cursor, move, database.schema))


def read_server(cursor: extensions.cursor) -> Server:
    cursor.execute(query("journal.who"))
    role, login = cursor.fetchone()
    info = cursor.connection.info
    return Server(host=info.host or "local", port=info.port, database=info.dbname, role=role, login=login)


def read_world(cursor: extensions.cursor, move: Move, schema: str) -> World:
    world = World(milestone=None, schema=schema, old_table=move.source.table, new_table=move.target.table)
    if journal.exists(cursor):
        cursor.execute(query("journal.world"), {"move": move.key_in(schema)})
        if row := cursor.fetchone():
            milestone, retired_schema, archive, going_back = row
            known = {"retired_schema": retired_schema, "archive": archive, "is_going_back": going_back}
            return replace(world, milestone=Milestone(milestone), **known)
    # By the catalog alone: where somebody has locked the table, that is for the verb to say.
    cursor.execute(query("journal.relation_exists"), {"schema": schema, "table": move.source.table})
    return replace(world, old_exists=cursor.fetchone()[0])
