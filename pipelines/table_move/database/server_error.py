"""What a server has reported, in words that hold no data: SQLSTATE, its standard name, the names of what was violated.

Message, DETAIL, HINT and CONTEXT hold rows: those that a CHECK refused, the line of a COPY, whatever a trigger puts
into them. Nothing of the program shows them; whoever has to tell of an error asks here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg2
from psycopg2 import errorcodes

from pipelines.table_move.errors import MoveError
from pipelines.table_move.signals import Signalled

# In a procedural language whoever raises an error may put anything into the fields for names as well.
_LANGUAGES = frozenset({"pl_exec.c", "plpy_elog.c", "plperl.c", "pltcl.c"})
_RAISED = "exec_stmt_raise"  # where PL/pgSQL comes from with RAISE
_FUNCTION = re.compile(r"[^\s(]+\([^()]*\)")


@dataclass(frozen=True, kw_only=True)
class ServerError:
    """An error of a server. `sqlstate` is empty where libpq speaks: no server has answered.

    raised_by: the function of the installation whose RAISE it was.
    """

    sqlstate: str
    schema: str | None = None
    table: str | None = None
    column: str | None = None
    datatype: str | None = None
    constraint: str | None = None
    raised_by: str | None = None

    @classmethod
    def of(cls, problem: psycopg2.Error) -> ServerError:
        found, state = problem.diag, problem.pgcode or ""
        if is_raised(problem):
            return cls(sqlstate=state, raised_by=_function(found.context))
        if found.source_file in _LANGUAGES:
            return cls(sqlstate=state)
        return cls(
            sqlstate=state,
            schema=found.schema_name,
            table=found.table_name,
            column=found.column_name,
            datatype=found.datatype_name,
            constraint=found.constraint_name,
        )

    def __str__(self) -> str:
        if not self.sqlstate:
            return "no answer from the server"
        kinds = ("table", "column", "datatype", "constraint")
        names = {kind: getattr(self, kind) for kind in kinds if getattr(self, kind)}
        qualified = "table" if self.table else "datatype"
        if self.schema and qualified in names:
            names[qualified] = f"{self.schema}.{names[qualified]}"
        if self.raised_by:
            names["raised by"] = self.raised_by
        said = [f"SQLSTATE {self.sqlstate} ({name_of(self.sqlstate)})", *(" ".join(pair) for pair in names.items())]
        return ", ".join(said)


def is_raised(problem: psycopg2.Error) -> bool:
    """Whether a function of the installation has raised it, with a SQLSTATE that is what its author likes: it says
    nothing of the connection, of locks or of room."""
    return problem.diag.source_function == _RAISED


def name_of(sqlstate: str) -> str:
    """The standard's name of a condition, or of its class: `check violation`."""
    for code in (sqlstate, sqlstate[:2]):
        try:
            return errorcodes.lookup(code).removeprefix("CLASS_").replace("_", " ").lower()
        except KeyError:
            continue
    return "a condition of the installation's own"


def reported(problem: BaseException | None) -> psycopg2.Error | None:
    """The database's own error behind what another library has made of it."""
    while problem is not None and not isinstance(problem, psycopg2.Error):
        problem = getattr(problem, "orig", None) or problem.__cause__
    return problem


def describe(problem: BaseException) -> str:
    """Any error in one line without data: our own sentence, what a server reported, or else the kind alone."""
    if isinstance(problem, MoveError):
        return problem.happened
    if isinstance(problem, Signalled):
        return f"Interrupted by {problem}."
    kind, found = type(problem).__name__, reported(problem)
    return f"{kind}: {ServerError.of(found)}" if found is not None and found.pgcode else kind


def _function(context: str | None) -> str | None:
    """The innermost function: the first line of a context is its own, and names nothing else."""
    found = _FUNCTION.search((context or "").partition("\n")[0])
    return found[0] if found else None
