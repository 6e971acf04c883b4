"""The options that more than one verb has. None means not given: the environment or the default decides."""

from __future__ import annotations

from typing import Annotated

import typer

DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", help="postgresql://…; else DATABASE_URL; else, on a terminal, the demonstration."),
]
OnDemo = Annotated[
    bool | None,
    typer.Option("--demo", help="The embedded demonstration database, no real one.", show_default=False),
]
Schema = Annotated[str | None, typer.Option("--schema", help="Schema of the application. [default: public]")]
AsJson = Annotated[
    bool | None, typer.Option("--json", help="One JSON object on stdout; people's text on stderr.", show_default=False)
]
LogFormat = Annotated[
    str | None, typer.Option("--log-format", help="How to log, on stderr. [default: text]", metavar="text|json")
]
Verbose = Annotated[bool | None, typer.Option("-v", "--verbose", help="Log more.", show_default=False)]
DefaultBusiness = Annotated[
    str | None, typer.Option("--default-business", help="Owner (id or name) of rows that nobody refers to.")
]
Owners = Annotated[
    str | None,
    typer.Option("--owners", help="CSV with the owners of rows: source_id and the owner's id.", metavar="FILE.csv"),
]
OnConflict = Annotated[
    str | None,
    typer.Option(
        "--on-conflict",
        help="keep-target: rows whose id is taken in the new table leave what is there. [default: stop]",
        metavar="stop|keep-target",
    ),
]
AllowDangling = Annotated[
    bool | None, typer.Option("--allow-dangling", help="Leave references to nothing as they are.", show_default=False)
]
ShowContent = Annotated[
    bool | None,
    typer.Option(
        "--show-content",
        help="Show the texts of conflicts and kept rows, read from the tables.",
        show_default=False,
    ),
]
AcceptLoss = Annotated[
    bool | None,
    typer.Option("--accept-loss", help="Go back although something has no place there.", show_default=False),
]
MaxWritePause = Annotated[str | None, typer.Option("--max-write-pause", help="Longest wait of writers. [default: 30s]")]
LockTimeout = Annotated[str | None, typer.Option("--lock-timeout", help="Longest wait for one lock. [default: 500ms]")]
LockWait = Annotated[str | None, typer.Option("--lock-wait", help="How long to try for locks in all. [default: 1min]")]
Yes = Annotated[
    bool | None,
    typer.Option("--yes", help="Do not ask, on a terminal; without one, needed to drop a table.", show_default=False),
]
Archive = Annotated[
    str | None, typer.Option("--archive", help="Folder for the archive of the purged table. [default: archive]")
]
ReportDir = Annotated[str | None, typer.Option("--report-dir", help="Where reports go. [default: reports]")]
