"""The verbs of a move as a command line: options in, one answer and one exit code out."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.table_move.errors import EXIT_CODES, Blocked, Bug, MoveError, UsageProblem
from pipelines.table_move.signals import Signalled, signals
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Counts, GateCounts, Phase, ReferenceCounts, State

if TYPE_CHECKING:
    from pipelines.table_move.console import Console
    from pipelines.table_move.database.connect import Database
    from pipelines.table_move.preflight import Plan
    from pipelines.table_move.settings import Settings

DEMO_FOLDER = Path(__file__).parents[2] / ".demo"


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The demonstration of a move: how its data are made, and the default owner that it brings."""

    create: Callable[..., None]
    default_business: str
    default_rows: int


DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", help="postgresql://…; else DATABASE_URL; else the demonstration.")
]
Schema = Annotated[str | None, typer.Option("--schema", help="Schema of the application. [default: public]")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; people's text on stderr.")]
LogFormat = Annotated[str, typer.Option("--log-format", help="text or json, on stderr.", metavar="text|json")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Log more.")]
DefaultBusiness = Annotated[
    str | None, typer.Option("--default-business", help="Owner (id or name) of rows that nobody refers to.")
]
AllowDangling = Annotated[
    bool | None, typer.Option("--allow-dangling", help="Leave references to nothing as they are.", show_default=False)
]
ReportDir = Annotated[str | None, typer.Option("--report-dir", help="Where reports go. [default: reports]")]


def make_app(move: Move, demo: Demo) -> typer.Typer:
    """The command line of one move."""
    codes = "\n\n".join(f"{code}  {meaning}" for code, meaning in EXIT_CODES.items())
    app = typer.Typer(
        name=move.name,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help=(
            f"Move {move.source.table} to {move.target.table}: every row, every reference, nothing lost.\n\n"
            "Begin with `plan`, which writes nothing. Every option can be set as PIPELINES_… in the environment.\n\n"
            f"Exit codes:\n\n{codes}"
        ),
    )
    _add_plan(app, move, demo)
    _add_run(app, move, demo)
    _add_status(app, move, demo)
    _add_verify(app, move, demo)
    _add_report(app, move, demo)
    _add_demo(app, move, demo)
    return app


def _add_plan(app: typer.Typer, move: Move, demo: Demo) -> None:
    @app.command()
    def plan(
        database_url: DatabaseUrl = None,
        schema: Schema = None,
        default_business: DefaultBusiness = None,
        allow_dangling: AllowDangling = None,
        as_json: AsJson = False,
        log_format: LogFormat = "text",
        verbose: Verbose = False,
    ) -> None:
        """Census and prediction: rows, owners, references, blockers, expected time. Writes nothing, ever."""

        def work(call: _Call) -> Mapping[str, Any]:
            from pipelines.table_move.preflight import make_plan

            found = make_plan(call.database, move, call.settings, default_business=call.default_business(demo))
            _show_plan(call.console, move, found)
            document = call.document(_plan_document(found))
            if found.blockers:
                blocked = _blocked(found)
                blocked.summary = document
                raise blocked
            return document

        options = _options(database_url, schema, default_business=default_business, allow_dangling=allow_dangling)
        _verb(move, demo, options, as_json, log_format, verbose, work)


def _add_run(app: typer.Typer, move: Move, demo: Demo) -> None:
    @app.command()
    def run(
        database_url: DatabaseUrl = None,
        schema: Schema = None,
        default_business: DefaultBusiness = None,
        allow_dangling: AllowDangling = None,
        until: Annotated[str | None, typer.Option("--until", help="copy or verify: stop there, exit 0.")] = None,
        grace: Annotated[
            str | None, typer.Option("--grace", help="How long both worlds stay readable. [default: 1s]")
        ] = None,
        max_write_pause: Annotated[
            str | None, typer.Option("--max-write-pause", help="Longest wait of writers. [default: 30s]")
        ] = None,
        batch_bytes: Annotated[
            str | None, typer.Option("--batch-bytes", help="Size of a batch. [default: 8MB]")
        ] = None,
        workers: Annotated[int | None, typer.Option("--workers", help="Parallel sessions. [default: 2]")] = None,
        lock_timeout: Annotated[
            str | None, typer.Option("--lock-timeout", help="Longest wait for one lock. [default: 500ms]")
        ] = None,
        lock_wait: Annotated[
            str | None, typer.Option("--lock-wait", help="How long to try for locks in all. [default: 1min]")
        ] = None,
        report_dir: ReportDir = None,
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask, on a terminal.")] = False,
        as_json: AsJson = False,
        log_format: LogFormat = "text",
        verbose: Verbose = False,
    ) -> None:
        """The whole move, resumable: run it again after a failure and it goes on; run it when done and it says so."""

        def work(call: _Call) -> Mapping[str, Any]:
            import pandas  # noqa: F401  before the workers need it at the same time

            from pipelines.table_move import runner

            if not yes:
                _ask(call, move)
            outcome = runner.run(
                call.database, move, call.settings, call.console, default_business=call.default_business(demo)
            )
            _show_outcome(call.console, move, outcome.summary, nothing_to_do=outcome.nothing_to_do)
            return call.document(outcome.summary)

        options = _options(
            database_url,
            schema,
            default_business=default_business,
            allow_dangling=allow_dangling,
            until=until,
            grace=grace,
            max_write_pause=max_write_pause,
            batch_bytes=batch_bytes,
            workers=workers,
            lock_timeout=lock_timeout,
            lock_wait=lock_wait,
            report_dir=report_dir,
        )
        _verb(move, demo, options, as_json, log_format, verbose, work)


def _add_status(app: typer.Typer, move: Move, demo: Demo) -> None:
    @app.command()
    def status(
        database_url: DatabaseUrl = None,
        schema: Schema = None,
        as_json: AsJson = False,
        log_format: LogFormat = "text",
        verbose: Verbose = False,
    ) -> None:
        """Where the move stands: counts, rate, time left, who holds the lock. Writes nothing."""

        def work(call: _Call) -> Mapping[str, Any]:
            from pipelines.table_move.standing import look

            document = call.document(look(call.database, move))
            _show_status(call.console, document)
            return document

        _verb(move, demo, _options(database_url, schema), as_json, log_format, verbose, work)


def _add_verify(app: typer.Typer, move: Move, demo: Demo) -> None:
    @app.command()
    def verify(
        database_url: DatabaseUrl = None,
        schema: Schema = None,
        suite: Annotated[
            str | None, typer.Option("--suite", help="source, target, references or reconciliation.")
        ] = None,
        allow_dangling: AllowDangling = None,
        report_dir: ReportDir = None,
        as_json: AsJson = False,
        log_format: LogFormat = "text",
        verbose: Verbose = False,
    ) -> None:
        """The expectation suites, at any time, before or after the cutover. Writes a report and nothing else."""

        def work(call: _Call) -> Mapping[str, Any]:
            from pipelines.table_move.verifier import verify as verify_now

            summary, checks = verify_now(call.database, move, call.settings, only=suite)
            _show_checks(call.console, checks)
            call.console.line(f"Report: {summary['report']}")
            document = call.document(summary)
            if summary["gate"]["failed_critical"]:
                from pipelines.table_move.quality.gate import require_open

                try:
                    require_open(checks)
                except MoveError as problem:
                    problem.summary = document
                    raise
            return document

        options = _options(database_url, schema, allow_dangling=allow_dangling, report_dir=report_dir)
        _verb(move, demo, options, as_json, log_format, verbose, work)


def _add_report(app: typer.Typer, move: Move, demo: Demo) -> None:
    @app.command()
    def report(
        database_url: DatabaseUrl = None,
        schema: Schema = None,
        run_id: Annotated[int | None, typer.Option("--run", help="Which run. [default: the newest]")] = None,
        open_it: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
        report_dir: ReportDir = None,
        as_json: AsJson = False,
        log_format: LogFormat = "text",
        verbose: Verbose = False,
    ) -> None:
        """Write the report of a run again, from the journal alone."""

        def work(call: _Call) -> Mapping[str, Any]:
            from pipelines.table_move.verifier import write_again

            summary = write_again(call.database, move, call.settings, run_id=run_id)
            call.console.line(f"Report: {summary['report']}")
            if open_it:
                typer.launch(str(Path(summary["report"]).resolve()))
            return call.document(summary)

        options = _options(database_url, schema, report_dir=report_dir)
        _verb(move, demo, options, as_json, log_format, verbose, work)


def _add_demo(app: typer.Typer, move: Move, demo: Demo) -> None:
    @app.command("demo")
    def make_demo(
        database_url: DatabaseUrl = None,
        reset: Annotated[bool, typer.Option("--reset", help="Throw the demonstration away and make it anew.")] = False,
        rows: Annotated[
            int, typer.Option("--rows", min=0, help="Rows of the old table; anything else than before needs --reset.")
        ] = demo.default_rows,
        as_json: AsJson = False,
        log_format: LogFormat = "text",
        verbose: Verbose = False,
    ) -> None:
        """(Re)create the embedded demonstration database. Refused when a URL is given."""

        def work(call: _Call) -> Mapping[str, Any]:
            if not call.database.is_demo:
                raise UsageProblem(
                    "`demo` makes the demonstration only, and a database URL is given.",
                    untouched="Nothing was written.",
                    next_step="Call it without --database-url and with DATABASE_URL unset.",
                )
            created = _ensure_demo(call.database, demo, rows=rows, reset=reset)
            call.console.line(
                f"Created: {rows:,} rows of {move.source.table}."
                if created
                else "It is there already; --reset renews it."
            )
            return {"move": move.name, "database": "demo", "created": created}

        _verb(move, demo, _options(database_url, None), as_json, log_format, verbose, work, create_demo=False)


@dataclass(frozen=True, kw_only=True)
class _Call:
    """One call of a verb: where, how, and what people see."""

    database: Database
    settings: Settings
    console: Console

    def default_business(self, demo: Demo) -> str | None:
        given = self.settings.default_business
        return given if given is not None or not self.database.is_demo else demo.default_business

    def document(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON of the contract, every key present."""
        return {**_EMPTY, "database": self.database.label, **found}


_EMPTY: dict[str, Any] = {
    "move": None,
    "database": None,
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


def _verb(
    move: Move,
    demo: Demo,
    options: Mapping[str, Any],
    as_json: bool,
    log_format: str,
    verbose: bool,
    work: Callable[[_Call], Mapping[str, Any]],
    *,
    create_demo: bool = True,
) -> None:
    """Do the work of a verb, answer, and exit with the code of the contract."""
    from pipelines.table_move.console import Console
    from pipelines.table_move.database.connect import told_by_sqlstate

    console = Console(as_json=as_json, log_format=log_format, verbose=verbose)
    document: dict[str, Any] = {**_EMPTY, "move": move.name}
    code = 0
    with signals() as received:
        try:
            if log_format not in ("text", "json"):
                raise UsageProblem(f"--log-format is text or json, not {log_format!r}.", untouched="Nothing was done.")
            call = _prepare(options, console, demo, create_demo=create_demo)
            document["database"] = call.database.label
            received.cancel = call.database.cancel
            with console, told_by_sqlstate():
                document |= work(call)
        except (Exception, Signalled) as caught:
            problem = received.told() if received.came is not None else caught
            if not isinstance(problem, MoveError):
                traceback.print_exception(problem, file=sys.stderr)
                problem = Bug(type(problem).__name__)
            console.problem(problem)
            code = problem.exit_code
            document |= _told(problem, caught)
    console.answer(document)
    raise typer.Exit(code)


def _told(problem: MoveError, caught: BaseException) -> dict[str, Any]:
    """What an error adds to the JSON: the counts as they stood, its blockers, its sentence."""
    blockers = [asdict(blocker) for blocker in getattr(caught, "blockers", ())]
    return {"blockers": blockers, **(getattr(caught, "summary", None) or {}), "error": problem.happened}


def _options(database_url: str | None, schema: str | None, **more: Any) -> dict[str, Any]:
    return {"database_url": database_url, "schema": schema, **more}


def _prepare(options: Mapping[str, Any], console: Console, demo: Demo, *, create_demo: bool) -> _Call:
    from pipelines.table_move.database.connect import Database, libpq_variables_set, parse_url
    from pipelines.table_move.settings import Settings

    settings = Settings.read(**options)
    name = "pipelines"
    if settings.database_url is not None:
        parameters = parse_url(settings.database_url.get_secret_value())
        database = Database(parameters=parameters, schema=settings.application_schema, application_name=name)
        return _Call(database=database, settings=settings, console=console)
    if found := libpq_variables_set():
        raise UsageProblem(
            f"{', '.join(found)} is set, but no URL is given: it is not clear which database is meant.",
            untouched="Nothing was read or written.",
            next_step="Give --database-url or DATABASE_URL, for example postgresql://USER@HOST:5432/DATABASE; "
            "or unset these variables to work on the demonstration.",
        )
    database = _demo_database(settings.application_schema, name)
    console.is_demo = True
    if create_demo:
        _ensure_demo(database, demo, rows=demo.default_rows, reset=False)
    return _Call(database=database, settings=settings, console=console)


def _demo_database(schema: str, application_name: str) -> Database:
    from pipelines.table_move.database.connect import Database, parse_url
    from pipelines.table_move.database.embedded import start

    DEMO_FOLDER.mkdir(exist_ok=True)
    url = start(DEMO_FOLDER / "pgdata")
    return Database(parameters=parse_url(url), schema=schema, is_demo=True, application_name=application_name)


def _ensure_demo(database: Database, demo: Demo, *, rows: int, reset: bool) -> bool:
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


def _ask(call: _Call, move: Move) -> None:
    """On a terminal, a real database is named and confirmed once."""
    if call.database.is_demo or not sys.stdin.isatty() or not sys.stderr.isatty():
        return
    from pipelines.table_move.standing import look

    rows = look(call.database, move)["source_rows"]
    question = f"Move {rows:,} rows of {call.database.schema}.{move.source.table} on {call.database.label}?"
    if not typer.confirm(question, err=True):
        raise UsageProblem("Not confirmed.", untouched="Nothing was written.", next_step="--yes skips the question.")


def _blocked(found: Plan) -> Blocked:
    try:
        found.require_way()
    except Blocked as problem:
        return problem
    raise AssertionError("a plan with blockers is blocked")


def _plan_document(found: Plan) -> dict[str, Any]:
    names = found.located.names
    return {
        "move": names.key,
        "state": State.NOT_STARTED if found.row is None else State.DONE if found.nothing_to_do else State.INTERRUPTED,
        "phase": Phase.PREFLIGHT,
        **found.counts.as_dict(),
        "references": asdict(found.references),
        "blockers": [asdict(blocker) for blocker in found.blockers],
        "warnings": list(found.warnings),
        "expected_seconds": round(found.expected_seconds, 1),
        "expected_write_pause_ms": round(1000 * found.expected_pause_seconds),
    }


def _show_plan(console: Console, move: Move, found: Plan) -> None:
    facts = found.located.facts
    size = 0 if facts.source is None else facts.source.heap_bytes + facts.source.toast_bytes
    console.table(
        f"Plan: {move.source.table} to {move.target.table}",
        [
            ("rows", f"{found.counts.source_rows:,}", f"{size / 1024**2:,.1f} MB"),
            ("to be inserted", f"{found.counts.inserted:,}", "with the copies"),
            ("copies", f"{found.counts.fan_out_copies:,}", "for every further business that refers to a row"),
            *(
                (f"references {name.replace('_', ' ')}", f"{count:,}", "")
                for name, count in asdict(found.references).items()
            ),
            ("foreign keys", f"{len(facts.foreign_keys):,}", "from the referencing tables to the old one; they leave"),
            ("expected time", f"{found.expected_seconds:,.0f} s", "rough"),
            ("expected write pause", f"{found.expected_pause_seconds:,.1f} s", "rough; readers go on"),
        ],
    )
    for warning in found.warnings:
        console.line(f"Warning: {warning}")
    if found.nothing_to_do:
        console.line("The move is done; nothing is left to do.")
    elif not found.blockers:
        console.line("Nothing is in the way. Nothing was written.")


def _show_outcome(console: Console, move: Move, summary: Mapping[str, Any], *, nothing_to_do: bool) -> None:
    references, gate = summary["references"], summary["gate"]
    if nothing_to_do:
        console.line("Nothing is left to do: the move is done.")
    console.table(
        f"Run {summary['run_id']}: {summary['state']}",
        [
            ("rows of the old table", f"{summary['source_rows']:,}", ""),
            ("copies for other owners", f"{summary['fan_out_copies']:,}", ""),
            ("inserted", f"{summary['inserted']:,}", ""),
            ("already present", f"{summary['already_present']:,}", ""),
            ("conflicts, rejected", f"{summary['conflicts'] + summary['rejected']:,}", ""),
            ("references rewired", f"{references['rewired']:,}", ""),
            ("references foreign, dangling", f"{references['foreign'] + references['dangling']:,}", ""),
            (
                "checks passed",
                f"{gate['passed']:,}",
                f"{gate['failed_critical']} critical failed, {gate['failed_warning']} warnings",
            ),
            (
                "writers waited",
                "–" if summary["write_pause_ms"] is None else f"{summary['write_pause_ms']:,.0f} ms",
                "",
            ),
            ("rows written by this run", f"{summary['rows_written']:,}", ""),
        ],
    )
    if summary["retired_schema"]:
        console.line(f"The old table is kept as {summary['retired_schema']}.{move.source.table}.")
    console.line(f"Report: {summary['report']}")


def _show_status(console: Console, document: Mapping[str, Any]) -> None:
    console.line(f"{document['move']}: {document['state']}" + (f", {document['phase']}" if document["phase"] else ""))
    if document["state"] == State.NOT_STARTED:
        console.line(f"{document['source_rows']:,} rows wait. `plan` says what a run would do.")
        return
    rows = [(name.replace("_", " "), f"{document[name]:,}", "") for name in Counts().as_dict()]
    progress = document.get("progress")
    if progress:
        rows.append(
            (
                "copied",
                f"{progress['rows']:,}",
                f"{progress['rows_per_second']:,.0f} rows/s, {progress['seconds_left'] or 0:,.0f} s left",
            )
        )
    console.table(f"Run {document['run_id']}", rows)
    if holder := document.get("lock_holder"):
        console.line(f"The lock is held by pid {holder['pid']} ({holder['application']}) since {holder['since']}.")
    if document.get("error"):
        console.line(f"It ended with: {document['error']}")


def _show_checks(console: Console, checks: Any) -> None:
    console.table(
        "Checks",
        [
            (
                f"{check.suite}/{check.expectation}",
                "" if check.success else f"{check.unexpected_count:,}",
                "passed" if check.success else check.severity,
                "; ".join(check.samples),
            )
            for check in checks
        ],
        header=("expectation", "rows", "result", "for example"),
    )
