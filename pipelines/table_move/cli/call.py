"""One call of a verb: options in, one answer and one exit code out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import typer

from pipelines.table_move.cli.demonstration import Demo, demo_database, ensure_demo
from pipelines.table_move.cli.terminal import on_a_terminal
from pipelines.table_move.errors import AnotherRunActive, Bug, GateClosed, MoveError, UsageProblem
from pipelines.table_move.pure.world import NOWHERE, Where, is_switched
from pipelines.table_move.signals import Signalled, signals
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Counts, GateCounts, ReferenceCounts, State

if TYPE_CHECKING:
    from pipelines.table_move.console import Console
    from pipelines.table_move.database.connect import Database
    from pipelines.table_move.settings import Settings

APPLICATION_NAME = "pipelines"

_EMPTY: dict[str, Any] = {
    "move": None,
    "database": None,
    **NOWHERE,
    "run_id": None,
    "state": State.NOT_STARTED,
    "phase": None,
    **Counts().as_dict(),
    "rows_written": 0,
    "references": asdict(ReferenceCounts()),
    "gate": asdict(GateCounts()),
    "write_pause_ms": None,
    "report": None,
    "blockers": [],
}


# Thousands of rows may stand in these: they are the report's and its summary.json's.
_LISTS = frozenset({"decisions", "references_by_owner"})


class Place(Protocol):
    """What a verb works on, whatever else it brings."""

    @property
    def database(self) -> Database: ...


Prepared = TypeVar("Prepared", bound=Place)


@dataclass(frozen=True, kw_only=True)
class Call:
    """Where a verb works, how, and what people see."""

    move: Move
    demo: Demo | None
    database: Database
    settings: Settings
    console: Console

    @property
    def default_business(self) -> str | None:
        """The one given; the demonstration brings its own."""
        given = self.settings.default_business
        return given if given is not None or not self.database.is_demo else self.demo.default_business


def answer(
    move: Move,
    demo: Demo | None,
    options: Mapping[str, Any],
    work: Callable[[Call], Mapping[str, Any]],
    *,
    is_demo: bool = False,
    asks_database: Callable[[Settings], bool] = lambda _: True,
) -> None:
    """Do the work of a verb, print its answer, and exit with the code of the contract.

    options: as given on the command line, None where they were not; the names are those of `Settings`.
    work: gives what the JSON shows beyond the keys that are always there.
    is_demo: the verb makes the demonstration, and has nothing to do with any other database.
    asks_database: whether this call has anything to do with the database that is there.
    """

    def where(call: Call, *, briefly: bool = False) -> Where | None:
        from pipelines.table_move.database.world import look_where

        return look_where(call.database, move, briefly=briefly) if asks_database(call.settings) else None

    def work_in_it(call: Call) -> Mapping[str, Any]:
        try:
            return work(call)
        except GateClosed as problem:
            from pipelines.table_move.next_calls import next_calls
            from pipelines.table_move.quality.verdict import after_switch

            if (found := where(call, briefly=True)) and is_switched(found.world.milestone):
                raise after_switch(problem, next_calls(call.settings, move)) from problem
            raise

    def prepare(settings: Settings, console: Console) -> Call:
        return _prepare(move, demo, settings, console, is_demo=is_demo)

    conclude(options, {**_EMPTY, "move": move.name}, prepare, work_in_it, where=where)


def conclude(
    options: Mapping[str, Any],
    document: dict[str, Any],
    prepare: Callable[[Settings, Console], Prepared],
    work: Callable[[Prepared], Mapping[str, Any]],
    *,
    where: Callable[..., Where | None] = lambda _, **__: None,
) -> None:
    """Settings, preparation, where the world stands, work; then one answer and one exit code, however it ended.

    document: what the JSON shows where nothing else is known.
    where: the world, asked before the work, and again where it fails.
    """
    from pipelines.table_move.console import Console
    from pipelines.table_move.database.refusals import told_by_sqlstate
    from pipelines.table_move.libraries import without_their_texts
    from pipelines.table_move.settings import Manner, Settings
    from pipelines.table_move.trace import trace

    manner = Manner.read(**options)
    console = Console(as_json=manner.as_json, log_format=manner.log_format, verbose=manner.verbose)
    code, before, ask = 0, None, lambda: None
    with signals() as received, without_their_texts(console.say):
        try:
            settings = Settings.read(**options)
            call = prepare(settings, console)
            document["database"] = call.database.label
            received.cancel, received.cut = call.database.cancel, call.database.cut
            with console, told_by_sqlstate():
                if before := where(call):
                    document |= before.as_dict()
                    console.where(before)
                ask = partial(where, call, briefly=True)
                document |= work(call)
        except (Exception, Signalled) as caught:
            problem = received.told() if received.came is not None else caught
            if not isinstance(problem, MoveError):
                console.trace(trace(problem))
                problem = Bug(type(problem).__name__)
            now = _where_now(before, ask)
            if _moved_meanwhile(problem, before, now):
                problem = _moved()
            if before is None and "state" in document:
                document["state"] = None  # nobody has read it
            document |= _told(problem, caught) | now
            console.problem(problem, world=document.get("world_sentence") or "")
            code = problem.exit_code
    console.answer({name: value for name, value in document.items() if name not in _LISTS})
    raise typer.Exit(code)


def _where_now(before: Where | None, ask: Callable[[], Where | None]) -> dict[str, Any]:
    """Where the world stands after a failure; where that cannot be read any more, where it stood before."""
    if before is None:
        return {}
    try:
        return ask().as_dict()
    except Exception:  # the failure itself is what has to be told
        said = f"Where the world stands now cannot be read. When this call began: {before.world.sentence}"
        return {"world": None, "world_sentence": said}


def _moved_meanwhile(problem: MoveError, before: Where | None, now: Mapping[str, Any]) -> bool:
    """Whether a table was not where it had been because another command of this move has moved it since.

    An attempt that writes tells its own counts (`summary`): it holds the lock, and what has moved is its own doing.
    """
    from psycopg2 import errors

    gone = isinstance(problem.__cause__, errors.UndefinedTable | errors.InvalidSchemaName)
    if not gone or getattr(problem, "summary", None):
        return False
    return before is not None and now.get("world") not in (None, before.as_dict()["world"])


def _moved() -> MoveError:
    return AnotherRunActive(
        "Another command of this move has changed where the tables stand while this one was reading them.",
        untouched="This command wrote nothing into the database.",
        next_step="Run the same command again.",
    )


def _told(problem: MoveError, caught: BaseException) -> dict[str, Any]:
    """What an error adds to the JSON: its blockers, the counts as they stood, its sentence."""
    said = dict(getattr(caught, "summary", None) or {})
    if blockers := getattr(caught, "blockers", ()):
        said["blockers"] = [asdict(blocker) for blocker in blockers]
    return {**said, "error": problem.happened}


def _require_demo_is_meant(move: Move, demo: Demo | None, *, wanted: bool) -> None:
    """Without a URL. Raises UsageProblem, so that a job which has lost its URL does not report success.

    wanted: the demonstration is asked for by name.
    """
    from pipelines.table_move.database.address import URL_FORM, libpq_variables_set, url_of_variables

    give = f"Give --database-url or DATABASE_URL, for example {URL_FORM}."
    if found := libpq_variables_set():  # they would reach the demonstration's own sessions as well
        happened = f"{', '.join(found)} is set, but no URL is given: it is not clear which database is meant."
        give = (
            f"Give the URL that these variables make, with --database-url or as DATABASE_URL: {url_of_variables()} – "
            "or unset them to work on the demonstration."
        )
    elif demo is None:
        happened = f"The move {move.name} has no demonstration, and no database URL is given."
    elif wanted or on_a_terminal():
        return
    else:
        happened = "No database URL is given, and without a terminal the demonstration has to be asked for."
        give += " `--demo` works on the demonstration."
    raise UsageProblem(happened, untouched="Nothing was read or written.", next_step=give)


def _prepare(move: Move, demo: Demo | None, settings: Settings, console: Console, *, is_demo: bool) -> Call:
    from pipelines.table_move.database.address import parse_url
    from pipelines.table_move.database.connect import Database

    wanted = settings.demo or is_demo
    if settings.database_url is not None and wanted:
        raise UsageProblem(
            "This call asks for the demonstration, and a database URL is given.",
            untouched="Nothing was read or written.",
            next_step="Call it without --database-url and with DATABASE_URL unset, or without --demo.",
        )
    if settings.database_url is not None:
        database = Database(
            parameters=parse_url(settings.database_url.get_secret_value()),
            schema=settings.application_schema,
            application_name=APPLICATION_NAME,
            lock_timeout=settings.lock_timeout,
            lock_wait=settings.lock_wait,
        )
        return Call(move=move, demo=demo, database=database, settings=settings, console=console)
    _require_demo_is_meant(move, demo, wanted=wanted)
    database = demo_database(settings.application_schema, APPLICATION_NAME)
    console.is_demo = True
    if not is_demo:
        ensure_demo(database, demo, rows=demo.default_rows, reset=False)
    return Call(move=move, demo=demo, database=database, settings=settings, console=console)
