"""The checks on their own, and the report of a run written again."""

from __future__ import annotations

from typing import Any

from psycopg2 import extensions

from pipelines.table_move.database import journal, run_journal, to_decide
from pipelines.table_move.database.catalog import locate
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.names import Names
from pipelines.table_move.database.patience import look_patiently
from pipelines.table_move.errors import Blocked, UsageProblem
from pipelines.table_move.preflight import make_plan
from pipelines.table_move.pure.world import NOWHERE, is_switched
from pipelines.table_move.quality import gate
from pipelines.table_move.quality.decisions import SHOWN, Contents
from pipelines.table_move.quality.report import Facts, write_report
from pipelines.table_move.quality.subjects import Standing
from pipelines.table_move.quality.suites import read_suites
from pipelines.table_move.quality.verdict import counted
from pipelines.table_move.records import CheckRow
from pipelines.table_move.settings import Settings
from pipelines.table_move.spec import Move
from pipelines.table_move.status import DONE, Milestone, Phase
from pipelines.table_move.summary import Ending, summarise


def verify(database: Database, move: Move, settings: Settings) -> tuple[dict[str, Any], list[CheckRow]]:
    """Run the suites that make sense where the move stands: before it has begun, that of the source alone."""
    suites = read_suites(move.suites)
    plan = look_patiently(database, lambda: make_plan(database, move, settings, default_business=None))
    if plan.located.facts.source is None:
        plan.require_way()  # a purged one is not missed
    wanted = [suite for suite in suites if settings.suite in (None, suite.subject)]
    settled = _settled(database, move) if plan.has_begun and not plan.row.is_restored else None
    if not plan.has_begun or (plan.row.milestone is Milestone.COPYING and settled is None):
        wanted = [suite for suite in wanted if suite.subject == "source"]
        if not wanted:
            raise Blocked(
                f"The suite {settings.suite!r} looks at the result of a run, and not everything has been copied yet.",
                untouched="Nothing was written.",
                next_step="`verify --suite source` looks at the old table; `run --until verify` copies and checks.",
            )
    if plan.located.facts.is_purged:
        wanted = [suite for suite in wanted if suite.subject != "source"]
    milestone = plan.row.milestone if plan.has_begun else None
    standing = Standing(
        settled_until=settled if milestone is Milestone.COPYING else None,
        switched=is_switched(milestone),
        following=milestone in (Milestone.SWITCHED, Milestone.RETIRED),
        settled=milestone in DONE,
        dangling_allowed=settings.allow_dangling,
    )
    names = plan.located.names
    checks = look_patiently(
        database, lambda: gate.run_suites(database, names, wanted, phase=Phase.VERIFY, standing=standing)
    )
    failed = counted(checks).failed_critical
    ending = Ending(
        run_id=None,
        state="failed" if failed else "checked",
        phase=Phase.VERIFY,
        rows_written=0,
        timings={},
        error=None,
    )
    with database.reading() as cursor:
        summary = summarise(cursor, plan.located, ending, checks=checks, settings=settings, database=database)
        contents = _contents(cursor, plan.located.names, summary) if settings.show_content else {}
    facts = Facts(summary=summary, checks=checks, contents=contents)
    summary["report"] = str(write_report(facts, settings.report_dir))
    summary["state"] = plan.state
    return summary, checks


def write_again(database: Database, move: Move, settings: Settings) -> dict[str, Any]:
    """The report of a run, from the journal alone."""
    with database.reading() as cursor:
        found = (
            run_journal.last_run(cursor, move.key_in(database.schema), settings.run) if journal.exists(cursor) else None
        )
        if found is None or found.summary is None:
            raise UsageProblem(
                "There is no such run with a result in the journal."
                if settings.run
                else "No run has left a result yet.",
                untouched="Nothing was written.",
                next_step="`status` shows the newest run; `verify` checks what is there.",
            )
        checks = run_journal.checks(cursor, found.run_id)
        summary = {
            **NOWHERE,
            **found.summary,
            "run_id": found.run_id,
            "state": found.state,
            "error": found.error,
        }
        contents = _contents(cursor, _names(cursor, database, move), summary) if settings.show_content else {}
    facts = Facts(summary=summary, checks=checks, contents=contents)
    summary["report"] = str(write_report(facts, settings.report_dir))
    return summary


def _settled(database: Database, move: Move) -> int | None:
    with database.reading() as cursor:
        return journal.settled(cursor, move.key_in(database.schema))


def past_runs(database: Database, move: Move) -> list[dict[str, Any]]:
    """Every attempt that the journal knows, the newest first."""
    with database.reading() as cursor:
        return run_journal.runs(cursor, move.key_in(database.schema)) if journal.exists(cursor) else []


def _names(cursor: extensions.cursor, database: Database, move: Move) -> Names:
    row = journal.load(cursor, move.key_in(database.schema))
    located = locate(cursor, move, database.schema, row)
    if located.facts.source is None or located.facts.target is None:
        raise Blocked(
            "The texts cannot be shown: the tables are not there any more.",
            untouched="Nothing was written.",
            next_step="Call it without --show-content: the rest of the report stands in the journal.",
        )
    return located.names


def _contents(cursor: extensions.cursor, names: Names, summary: dict[str, Any]) -> Contents:
    """The texts of the rows to decide on that the report lists, as they are now."""
    listed = summary.get("decisions", {})
    pairs = [
        (row["source_id"], row["target_id"])
        for kind in ("conflicts", "kept")
        for row in listed.get(kind, {}).get("rows", [])[:SHOWN]
    ]
    return to_decide.contents(cursor, names, pairs) if pairs else {}
