"""The command line of the numbered migrations: one verb each for forward, back, a look, one file, and a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.migrations.call import Call, prepare
from pipelines.migrations.confirm import confirm
from pipelines.table_move.cli.call import conclude
from pipelines.table_move.cli.grammar import Verbs
from pipelines.table_move.cli.options import (
    AcceptLoss,
    AllowDangling,
    AsJson,
    DefaultBusiness,
    LogFormat,
    Schema,
    Verbose,
    Yes,
)
from pipelines.table_move.cli.streams import never_refuse
from pipelines.table_move.errors import EXIT_CODES, MoveError, UsageProblem

_CODES = "\n\n".join(f"{code}  {EXIT_CODES[code]}" for code in (0, 2, 3, 5, 6, 7, 70, 130, 143))

DatabaseUrl = Annotated[str | None, typer.Option("--database-url", help="postgresql://…; else DATABASE_URL.")]
LockTimeout = Annotated[str | None, typer.Option("--lock-timeout", help="Longest wait for one lock. [default: 500ms]")]
Folder = Annotated[Path | None, typer.Option("--folder", help="Where the numbered files are. [default: sql]")]
To = Annotated[int | None, typer.Option("--to", help="The last number that is to be applied afterwards.", metavar="NN")]

never_refuse()
app = typer.Typer(
    name="migrations",
    cls=Verbs,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "Numbered SQL migrations, forward and back. psql applies the same files: "
        "psql -X -v ON_ERROR_STOP=1 -f sql/NN_….sql; `status` knows it afterwards.\n\n"
        f"Exit codes:\n\n{_CODES}"
    ),
)


@app.command()
def up(
    to: To = None,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    default_business: DefaultBusiness = None,
    allow_dangling: AllowDangling = None,
    lock_timeout: LockTimeout = None,
    yes: Yes = None,
    folder: Folder = None,
    as_json: AsJson = None,
    log_format: LogFormat = None,
    verbose: Verbose = None,
) -> None:
    """Apply what is pending, in order, up to --to. Each file is committed before the next begins."""
    options = _given(locals(), without=("to", "folder"))

    def work(call: Call) -> Mapping[str, Any]:
        from pipelines.migrations import files, runner

        found = files.read(call.folder)
        agree = partial(confirm, call, "Apply")
        done = runner.up(call.database, found, call.parameters, to=to, agree=agree, say=call.console.line)
        return _done(call, done, "applied")

    _answer(options, folder, work)


@app.command()
def down(
    to: To = None,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    accept_loss: AcceptLoss = None,
    lock_timeout: LockTimeout = None,
    yes: Yes = None,
    folder: Folder = None,
    as_json: AsJson = None,
    log_format: LogFormat = None,
    verbose: Verbose = None,
) -> None:
    """Take back the newest migration, or all above --to, the newest first. --to 0 takes back everything."""
    options = _given(locals(), without=("to", "folder"))

    def work(call: Call) -> Mapping[str, Any]:
        from pipelines.migrations import files, runner

        found = files.read(call.folder)
        agree = partial(confirm, call, "Take back", destroys=True)
        done = runner.down(call.database, found, call.parameters, to=to, agree=agree, say=call.console.line)
        return _done(call, done, "taken back")

    _answer(options, folder, work)


@app.command()
def status(
    database_url: DatabaseUrl = None,
    folder: Folder = None,
    as_json: AsJson = None,
    log_format: LogFormat = None,
    verbose: Verbose = None,
) -> None:
    """What is applied, by whom and when, also by psql; what is pending, edited or missing. Writes nothing."""
    options = _given(locals(), without=("folder",))

    def work(call: Call) -> Mapping[str, Any]:
        from pipelines.migrations import files, runner

        lines = runner.status(call.database, files.read(call.folder))
        call.console.table(
            "Migrations",
            [
                (
                    line.name,
                    f"{line.applied_at:%Y-%m-%d %H:%M}" if line.applied_at else "",
                    line.state,
                    line.applied_by or "",
                )
                for line in lines
            ],
        )
        shown = [{**asdict(line), "migration": line.migration and line.migration.path.name} for line in lines]
        return {"migrations": shown}

    _answer(options, folder, work)


@app.command()
def run(
    file: Annotated[Path, typer.Option("--file", help="The file to apply.", metavar="sql/NN_….sql")],
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    default_business: DefaultBusiness = None,
    allow_dangling: AllowDangling = None,
    lock_timeout: LockTimeout = None,
    yes: Yes = None,
    as_json: AsJson = None,
    log_format: LogFormat = None,
    verbose: Verbose = None,
) -> None:
    """Apply one file, whose predecessors are applied. Applied already: nothing is done."""
    options = _given(locals(), without=("file",))

    def work(call: Call) -> Mapping[str, Any]:
        from pipelines.migrations import files, runner

        found = files.read(call.folder)
        named = [migration for migration in found if migration.path.resolve() == file.resolve()]
        if not named:
            raise UsageProblem(
                f"{file} is no numbered migration.",
                untouched="Nothing was read or written.",
                next_step="Name a file such as sql/01_cleanup_template_tables.sql; the rollback files are for `down`.",
            )
        agree = partial(confirm, call, "Apply")
        done = runner.up(call.database, found, call.parameters, only=named[0], agree=agree, say=call.console.line)
        return _done(call, done, "applied")

    _answer(options, file.parent, work)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Lower case letters, digits and _.", metavar="NAME")],
    folder: Folder = None,
) -> None:
    """Write the two files of the next number, to be filled in. Needs no database."""
    from pipelines.migrations import files
    from pipelines.table_move.console import Console

    console = Console(as_json=False)
    try:
        for path in files.create(folder or files.FOLDER, name):
            console.line(str(path))
    except MoveError as problem:
        console.problem(problem)
        raise typer.Exit(problem.exit_code) from None


def _given(values: Mapping[str, Any], *, without: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in without}


def _done(call: Call, names: list[str], what: str) -> dict[str, Any]:
    call.console.line(f"{', '.join(names)}: {what}." if names else "Nothing is left to do.")
    return {what.replace(" ", "_"): names}


def _answer(options: Mapping[str, Any], folder: Path | None, work: Callable[[Call], Mapping[str, Any]]) -> None:
    """Do the work of a verb, print its answer, and exit with the code of the contract."""
    conclude(options, {"database": None}, lambda settings, console: prepare(settings, folder, console), work)
