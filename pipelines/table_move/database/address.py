"""Which database is meant: a URL as libpq's parameters, and how long a silent server is believed in."""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, quote

import psycopg2
from psycopg2 import extensions

from pipelines.table_move.errors import UsageProblem

# Any of these names a database to libpq; with one set and no URL it is unclear which database is meant.
LIBPQ_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE")

SECRETS = ("password", "sslpassword")

# What an operator waits at most before a server that has vanished is believed to be gone: 10 s for a new session, about
# 25 s for an open one. Both ends look: ours would wait for ever, the server would keep locks for hours. (A connection
# that somebody in between keeps alive without forwarding anything cannot be told from a long statement.)
BOUNDS = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


def parse_url(url: str) -> dict[str, str]:
    """libpq's parameters of a URL, with BOUNDS where it has none of its own.

    Raises UsageProblem without repeating the URL, which may hold a password.
    """
    example = "Give a URL such as postgresql://USER@HOST:5432/DATABASE with --database-url or DATABASE_URL."
    if not url.strip():
        raise UsageProblem("The database URL is empty.", untouched="Nothing was read or written.", next_step=example)
    plain = _plain(url)
    if not re.match(r"postgres(ql)?://", plain):
        raise UsageProblem(
            "The database URL does not begin with postgresql://.",
            untouched="Nothing was read or written.",
            next_step=example,
        )
    try:
        return {**BOUNDS, **extensions.parse_dsn(plain)}
    except psycopg2.Error:
        named = sorted({name for name, _ in parse_qsl(plain.partition("?")[2])})
        raise UsageProblem(
            "The database URL cannot be read" + (f" (its parameters: {', '.join(named)})." if named else "."),
            untouched="Nothing was read or written.",
            next_step=example,
        ) from None


def shown_url(url: str) -> str:
    """The same URL for people: an ellipsis stands where a secret was."""
    found = extensions.parse_dsn(_plain(url))
    secrets = {name: "…" for name in SECRETS if found.pop(name, None) is not None}
    user = quote(found.pop("user", ""), safe="") + (":…" if secrets.pop("password", None) else "")
    place = "" if {",", "/"} & set(found.get("host", "")) else found.pop("host", "")
    port = f":{found.pop('port')}" if place and "port" in found else ""
    name = quote(found.pop("dbname", ""), safe="")
    rest = "&".join(f"{key}={quote(text, safe='/,…')}" for key, text in {**found, **secrets}.items())
    return f"postgresql://{user}{'@' if user else ''}{place}{port}/{name}{'?' if rest else ''}{rest}"


def _plain(url: str) -> str:
    """Without what SQLAlchemy wants there."""
    return re.sub(r"^(postgres|postgresql)\+psycopg2?://", "postgresql://", url.strip())


def libpq_variables_set() -> list[str]:
    return [name for name in LIBPQ_VARIABLES if os.environ.get(name)]
