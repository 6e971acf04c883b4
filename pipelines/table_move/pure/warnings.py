"""What a person should know before the move, though it does not stop it: one sentence each, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.table_move.pure.facts import Facts
from pipelines.table_move.pure.server_blockers import NEWEST, OLDEST
from pipelines.table_move.pure.surroundings import Surroundings, Trigger, Undeclared
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Counts, ReferenceCounts

_TRIED = "A plan writes nothing, so it cannot tell; `run` tries it on a few rows before it copies anything."


def warnings(move: Move, facts: Facts, around: Surroundings) -> tuple[str, ...]:
    """Everything that is not in the way but notices the move, or is changed by it."""
    if facts.source is None or facts.target is None or facts.is_retired:
        return ()
    return (
        *_version(facts),
        *_functions(move, facts, around),
        *_event_triggers(around),
        *_target_triggers(facts, around),
        *_reference_triggers(move, facts, around),
        *_source_triggers(facts, around),
        *_unique_indexes(facts, around),
        *_row_security(facts),
        *_readers(facts, around),
    )


def _version(facts: Facts) -> Iterator[str]:
    major = facts.server.version // 10000
    if major > NEWEST:
        yield (
            f"The server is PostgreSQL {major}, which this version of the move was never run on ({OLDEST} to {NEWEST} "
            "were): try it on a copy first."
        )


def _functions(move: Move, facts: Facts, around: Surroundings) -> Iterator[str]:
    for name in around.functions:
        yield (
            f"The source of {name} names {move.source.table} and fails once that is retired: point it to "
            f"{facts.target.label} before the switch."
        )


def _event_triggers(around: Surroundings) -> Iterator[str]:
    for name, event in around.event_triggers:
        yield (
            f"The event trigger {name} ({event}) fires when the move creates, changes and retires tables: see that it "
            f"lets this pass, or ALTER EVENT TRIGGER {name} DISABLE for the time of the run. {_TRIED}"
        )


def _target_triggers(facts: Facts, around: Surroundings) -> Iterator[str]:
    for trigger in around.triggers:
        if trigger.table_oid == facts.target.oid:
            yield (
                f"{_named(trigger)} on {facts.target.label} fires for the rows of the move, with the rights of "
                f"{facts.server.user}, and its effects are the installation's own: read it before the run. {_TRIED}"
            )


def _source_triggers(facts: Facts, around: Surroundings) -> Iterator[str]:
    for trigger in around.triggers:
        if trigger.table_oid == facts.source.oid and {"UPDATE", "DELETE"} & set(trigger.events):
            yield (
                f"{_named(trigger)} on {facts.source.label} fires when a rollback carries edits and deletions back "
                "into it: what it does not let pass is listed then."
            )


def _reference_triggers(move: Move, facts: Facts, around: Surroundings) -> Iterator[str]:
    for table in move.references:
        found = facts.references.get(table.table)
        for trigger in around.triggers:
            if found is not None and trigger.table_oid == found.oid and _fires_on(trigger, table.columns):
                yield (
                    f"{_named(trigger)} on {found.label} fires when references change, with the rights of "
                    f"{facts.server.user}: read it before the run. {_TRIED}"
                )


def _fires_on(trigger: Trigger, columns: tuple[str, ...]) -> bool:
    return "UPDATE" in trigger.events and (not trigger.columns or bool(trigger.columns & set(columns)))


def _named(trigger: Trigger) -> str:
    return f"The trigger {trigger.name} ({trigger.timing} {' OR '.join(trigger.events)}, {trigger.function})"


def _unique_indexes(facts: Facts, around: Surroundings) -> Iterator[str]:
    for name in around.unique_indexes:
        yield (
            f"{facts.target.label} has the unique index {name} beyond its key: rows of one owner that are equal there "
            "stop the copy, so look for such rows first."
        )


def _row_security(facts: Facts) -> Iterator[str]:
    source, target = facts.source, facts.target
    if source.has_row_security and not target.has_row_security:
        yield (
            f"{source.label} has row security and {target.label} has none, so every role that may read {target.name} "
            "sees all of its rows: enable row security there first, if that is not meant."
        )
    elif source.policies and source.policies != target.policies:
        yield (
            f"{source.label} has {source.policies} policies and {target.label} has {target.policies}: compare who sees "
            "which rows."
        )


def _readers(facts: Facts, around: Surroundings) -> Iterator[str]:
    for role in ("PUBLIC",) if "PUBLIC" in around.readers else around.readers:
        yield (
            f"{role} may read {facts.target.label} but not {facts.source.label}, so the move widens what {role} sees: "
            "REVOKE SELECT there first, if that is not meant."
        )


def about_rows(counts: Counts) -> tuple[str, ...]:
    """Rows that have a counterpart in the target already, as far as a plan can tell."""
    said = []
    if counts.already_present or counts.adopted:
        said.append(
            f"{counts.already_present} rows stand in the target under their id already and {counts.adopted} more may "
            "have an equal there; names and types are compared when they are copied."
        )
    if counts.conflicts:
        said.append(
            f"The ids of {counts.conflicts} rows are taken by other rows of the target: they will close the gate; "
            "--on-conflict keep-target keeps what is there."
        )
    return tuple(said)


def about_references(facts: Facts, references: ReferenceCounts, *, allow_dangling: bool) -> tuple[str, ...]:
    """What becomes of references that have no successor, and of what enforced them."""
    said = [
        f"Nothing enforces {key.table} after {key.name} is gone; migration 05 gives the column a new type and key."
        for key in facts.foreign_keys
    ]
    if references.dangling:
        end = "they stay as they are." if allow_dangling else "they will close the gate; --allow-dangling leaves them."
        said.append(f"{references.dangling} references point to nothing in the old table or the new one: {end}")
    if references.foreign:
        said.append(f"{references.foreign} references point to a row of another owner; they stay as they are.")
    return tuple(said)


def about_undeclared(found: Sequence[Undeclared] | None) -> tuple[str, ...]:
    """Keys of the old table where no reference is declared. None: it could not be looked at."""
    if found is None:
        return (
            "Whether other columns of the schema hold ids of the old table could not be seen in time, or not by this "
            "role: nothing changes such ids, so look for them before the switch.",
        )
    return tuple(
        f"{one.table}.{one.column} ({one.type}) holds ids of the old table in {one.rows:,} of {one.sampled:,} "
        "sampled rows. It is not declared as a reference, so nothing changes them: see what they mean first."
        for one in found
    )
