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

URL_FORM = "postgresql://USER@HOST:5432/DATABASE"

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


EXAMPLE = f"Give a URL such as {URL_FORM} with --database-url or DATABASE_URL."
ENCODE = (
    "In the user and the password of a URL, the characters / ? # @ : % are written %2F %3F %23 %40 %3A %25; or keep "
    "the password in a file (passfile=…)."
)


def parse_url(url: str) -> dict[str, str]:
    """libpq's parameters of a URL, with BOUNDS where it has none of its own.

    Raises UsageProblem without repeating the URL, which may hold a password, or a part of it in another place.
    """
    if not url.strip():
        raise _unreadable("The database URL is empty.")
    plain = _plain(url)
    if not re.match(r"postgres(ql)?://", plain):
        raise _unreadable("The database URL does not begin with postgresql://.")
    _require_whole_secrets(plain.partition("://")[2])
    try:
        return {**BOUNDS, **extensions.parse_dsn(plain)}
    except UnicodeDecodeError:
        raise _unreadable("The database URL cannot be read: a %XX in it is no UTF-8.", ENCODE) from None
    except psycopg2.Error:
        raise _unreadable(f"The database URL cannot be read{_reason(plain)}.", ENCODE) from None


def _require_whole_secrets(rest: str) -> None:
    """A password that is not written as URLs want it spills into host, port, database or parameters, and is shown."""
    authority, rest = re.fullmatch(r"([^/?]*)(.*)", rest, re.DOTALL).groups()
    path = rest.partition("?")[0]
    _, _, places = authority.rpartition("@")
    ports = re.sub(r"\[[^]]*\]", "", places).split(",")
    if authority.count("@") > 1 or "@" in path or not all(re.fullmatch(r"[^:]*(:\d*)?", port) for port in ports):
        raise _unreadable("The database URL cannot be read: its user, password, host or port.", ENCODE)
    if "@" in rest and "@" not in authority and ":" in authority:
        raise _unreadable("The database URL cannot be read: its user, password, host or port.", ENCODE)


def _reason(plain: str) -> str:
    """The parameters that libpq does not know, by their names; nothing where a name may be a part of a password."""
    named = [name for name, _ in parse_qsl(plain.partition("?")[2], keep_blank_values=True)]
    if any("password" in name for name in named) or not all(re.fullmatch(r"[a-z_0-9]+", name) for name in named):
        return ""
    unknown = sorted({name for name in named if not _is_known(name)})
    return f": libpq knows no parameter {', '.join(unknown)}" if unknown else ""


def _is_known(name: str) -> bool:
    try:
        extensions.parse_dsn(f"{name}=x")
    except psycopg2.Error:
        return False
    return True


def _unreadable(happened: str, next_step: str = EXAMPLE) -> UsageProblem:
    return UsageProblem(happened, untouched="Nothing was read or written.", next_step=next_step)


def shown_url(url: str) -> str:
    """The same URL for people: an ellipsis stands where a secret was."""
    return _composed(extensions.parse_dsn(_plain(url)))


def _composed(found: dict[str, str]) -> str:
    secrets = {name: "…" for name in SECRETS if found.pop(name, None) is not None}
    user = quote(found.pop("user", ""), safe="") + (":…" if secrets.pop("password", None) else "")
    place = "" if {",", "/"} & set(found.get("host", "")) else found.pop("host", "")
    port = f":{found.pop('port')}" if place and "port" in found else ""
    name = quote(found.pop("dbname", ""), safe="")
    kept = {key: quote(text, safe="/,") for key, text in found.items()}
    rest = "&".join(f"{key}={text}" for key, text in {**kept, **secrets}.items())
    return f"postgresql://{user}{'@' if user else ''}{place}{port}/{name}{'?' if rest else ''}{rest}"


def _plain(url: str) -> str:
    """Without what SQLAlchemy wants there."""
    return re.sub(r"^(postgres|postgresql)\+psycopg2?://", "postgresql://", url.strip())


def url_of_variables() -> str:
    """The URL that libpq's variables make, without the password, which libpq goes on reading from them."""
    names = {"user": "PGUSER", "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "dbname": "PGDATABASE"}
    found = {key: os.environ[name] for key, name in {**names, "service": "PGSERVICE"}.items() if os.environ.get(name)}
    if "service" not in found:
        found = {"host": "localhost", **found} if "hostaddr" not in found else found
        found = {"dbname": "DATABASE", **found}
    return _composed(found)


def libpq_variables_set() -> list[str]:
    return [name for name in LIBPQ_VARIABLES if os.environ.get(name)]
