"""URLs: read as libpq reads them; what cannot be read is named without a part of a password."""

from __future__ import annotations

import pytest

from pipelines.table_move.database.address import parse_url
from pipelines.table_move.errors import UsageProblem

# Parts of passwords; none of them may be seen again.
SECRETS = ("hunter", "correct", "horse")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter/correct@db/app",
        "postgresql://me:hunter/correct@db:5432/app?sslmode=require",
        "postgresql://me:hunter@correct@db/app",
        "postgresql://me:hunter?correct@db/app",
        "postgresql://me:hunter?correct=horse@db/app",
        "postgresql://me:hunter?correct=horse&sslmode=x@db/app",
        "postgresql://me:hunter%correct@db/app",
        "postgresql://me:hunter%zz@db/app",
        "postgresql://me:hunter:correct@db:horse/app",
        "postgresql://hunter:correct/horse",
        "postgresql://me@db/app?password=hunter&correct=horse",
        "postgresql://me@db/app?password=hunter&correct",
        "postgresql://me@db/app?sslpassword=hunter%&x=correct",
        "postgresql://me@db:hunter/app",
        "hunter:correct@horse",
        "postgres//me:hunter@correct/horse",
    ],
)
def test_an_unreadable_url_shows_no_part_of_a_password(url: str) -> None:
    with pytest.raises(UsageProblem) as problem:
        parse_url(url)
    assert not any(secret in str(problem.value) for secret in SECRETS), problem.value


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://me@db/app?pool_size=5&sslmode=require", "pool_size"),
        ("postgresql://me:secret@db/app?sslmode=require&pgbouncer=true&schema=x", "pgbouncer, schema"),
    ],
)
def test_a_parameter_that_libpq_does_not_know_is_named(url: str, named: str) -> None:
    with pytest.raises(UsageProblem, match=f"knows no parameter {named}"):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgres://me:a%2Fb%40c@db:5433/app", {"user": "me", "password": "a/b@c", "host": "db", "port": "5433"}),
        ("postgresql+psycopg2://me@db/app", {"user": "me", "host": "db", "dbname": "app"}),
        ("postgresql://me:a:b@db/app", {"password": "a:b", "host": "db"}),
        (
            "postgresql://one:5432,two:5433/app?target_session_attrs=read-write",
            {"host": "one,two", "port": "5432,5433"},
        ),
        ("postgresql://me@[::1]:5433/app", {"host": "::1", "port": "5433"}),
        (
            "postgresql:///app?host=/var/run/postgresql&user=me%40here",
            {"host": "/var/run/postgresql", "user": "me@here"},
        ),
        ("postgresql://db/app?user=me@here", {"user": "me@here", "host": "db"}),
        ("postgresql://?service=mine", {"service": "mine"}),
        ("postgresql://db/app?passfile=/x/y&sslmode=verify-full", {"passfile": "/x/y", "sslmode": "verify-full"}),
        ("postgresql://db/app?options=-c%20role%3Downer", {"options": "-c role=owner"}),
    ],
)
def test_a_url_is_read_as_libpq_reads_it(url: str, found: dict[str, str]) -> None:
    assert found.items() <= parse_url(url).items()
