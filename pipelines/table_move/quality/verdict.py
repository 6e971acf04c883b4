"""What the answers of the gate come to: the counts, and whether it is open."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.table_move.errors import FailedAfterSwitch, FailedCheck, GateClosed
from pipelines.table_move.pure.command_line import CommandLine
from pipelines.table_move.records import CheckRow
from pipelines.table_move.status import GateCounts

SAMPLES = 3  # keys that a table shows


def counted(rows: Iterable[CheckRow]) -> GateCounts:
    rows = list(rows)
    passed, critical = sum(row.success for row in rows), sum(row.closes_the_gate for row in rows)
    return GateCounts(passed=passed, failed_critical=critical, failed_warning=len(rows) - passed - critical)


def require_open(rows: Iterable[CheckRow]) -> None:
    """Raises GateClosed, naming the expectations that close the gate."""
    failed = [row for row in rows if row.closes_the_gate]
    if failed:
        names = ", ".join(f"{row.suite}/{row.expectation}" for row in failed)
        raise GateClosed(
            f"The gate is closed by {len(failed)} expectation{'s' if len(failed) > 1 else ''}: {names}.",
            failed=tuple(_told(row) for row in failed),
            untouched="The switch has not been made.",
            next_step="The report names the rows. Put them right, then run the same command again.",
        )


def after_switch(problem: GateClosed, calls: CommandLine) -> FailedAfterSwitch:
    """The same, where the new table is in charge. calls: what may come next."""
    if isinstance(problem, FailedAfterSwitch):
        return problem
    told = FailedAfterSwitch(
        f"A check failed after the switch. {problem.happened}",
        failed=problem.failed,
        untouched="Nothing is taken back by itself.",
        next_step="Decide between repair and rollback.\n"
        f"{calls.to('complete the move, once what is named is repaired', 'run')}\n"
        f"{calls.to('see what going back would take back and what it would lose', 'rollback', '--dry-run')}",
    )
    told.summary = problem.summary
    return told


def _told(row: CheckRow) -> FailedCheck:
    return FailedCheck(
        name=f"{row.suite}/{row.expectation}",
        severity=row.severity,
        rows=f"could not be evaluated: {row.error}" if row.error else f"{row.unexpected_count:,}",
        samples=tuple(row.samples[:SAMPLES]),
        remedy="Put the suite or its subject right; the server's log has what it said." if row.error else row.remedy,
    )
