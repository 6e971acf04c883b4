"""psql and pg_dump, in the version of the server."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.application import Application
from tests.command import ROOT, Answer, environment
from tests.servers import PROGRAMS


def psql(application: Application, file: str, *, stops: bool = True, **settings: str) -> Answer:
    """`psql -X -v ON_ERROR_STOP=1 -f FILE`, with settings such as pipelines.default_business.

    stops: False leaves ON_ERROR_STOP out, as people do: psql goes on after an error, and exits with 0.
    """
    escaped = {name: value.replace(" ", "\\ ") for name, value in settings.items()}
    options = " ".join(f"-c pipelines.{name}={value}" for name, value in escaped.items())
    done = _run("psql", application, "-X", "-v", f"ON_ERROR_STOP={int(stops)}", "-f", file, PGOPTIONS=options)
    return Answer(done.returncode, done.stdout, done.stderr)


def schema_dump(application: Application, *schemas: str) -> str:
    """The definition of everything in these schemas (else the application's), without what differs from dump to dump."""
    done = _run("pg_dump", application, "--schema-only", *(f"--schema={name}" for name in schemas or ("public",)))
    assert done.returncode == 0, done.stderr
    return re.sub(r"^\\(un)?restrict .*$", "", done.stdout, flags=re.MULTILINE)


def contents(application: Application, *tables: str) -> dict[str, list[tuple[object, ...]]]:
    """The rows of tables, in the order of their first column."""
    return {table: application.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables}


def dump(application: Application, file: Path, *options: str) -> Path:
    """The whole database in pg_dump's own form."""
    done = _run("pg_dump", application, "--format=custom", f"--file={file}", *options)
    assert done.returncode == 0, done.stderr
    return file


def restore(file: Path, application: Application, *options: str) -> None:
    """A dump into a database that has none of it yet."""
    done = _run("pg_restore", application, "--exit-on-error", *options, str(file))
    assert done.returncode == 0, done.stderr


def _run(tool: str, application: Application, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    major = application.value("SELECT current_setting('server_version_num')::int / 10000")
    return subprocess.run(
        [str(PROGRAMS[major] / tool), "--dbname", application.url, *arguments],
        cwd=ROOT,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
