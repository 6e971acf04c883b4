"""Preflight: everything that could stop the move later is looked at now. `plan` shows what `run` acts on."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from psycopg2 import extensions

from pipelines.table_move.database import census, journal
from pipelines.table_move.database.catalog import Located, locate, relation, retired_schemas
from pipelines.table_move.database.census import Question
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.journal import MoveRow, RunRow
from pipelines.table_move.database.rewire import late_references
from pipelines.table_move.database.surroundings import look_around
from pipelines.table_move.errors import Blocked, Blocker, UsageProblem
from pipelines.table_move.pure import estimate
from pipelines.table_move.pure.owners_file import parse_owners
from pipelines.table_move.pure.preflight import blockers, frozen_source, left_behind, no_owner
from pipelines.table_move.pure.surroundings import Surroundings
from pipelines.table_move.pure.warnings import warnings
from pipelines.table_move.settings import Settings
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Counts, Milestone, ReferenceCounts, State

_MAPPING_MODULES = ("ids", "fingerprint", "ownership", "mapping")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A move as it was found: where it stands, what is in the way, what a run would do. `run` acts on this object."""

    located: Located
    journal_exists: bool
    row: MoveRow | None
    last_run: RunRow | None
    default_owner: str | None
    assigned: Mapping[str, str] | None
    counts: Counts
    rules: Mapping[str, int]
    references: ReferenceCounts
    late_references: int
    blockers: tuple[Blocker, ...]
    warnings: tuple[str, ...]

    @property
    def nothing_to_do(self) -> bool:
        """The move is done, and no reference with an old id has appeared since."""
        return self.row is not None and self.row.milestone is Milestone.CONFIRMED and self.late_references == 0

    @property
    def expected_seconds(self) -> float:
        return estimate.expected_seconds(rows=self.counts.source_rows, references=self.references.to_rewire)

    @property
    def expected_pause_seconds(self) -> float:
        return estimate.expected_pause_seconds(rows=self.counts.source_rows, references=self.references.to_rewire)

    @property
    def state(self) -> State:
        """Where the move stands, as far as nobody is at it now."""
        return journal.state_of(self.row, self.last_run, held=False)

    def blocked(self) -> Blocked:
        """Everything that is in the way, as one error."""
        return Blocked(
            f"The move is blocked: {len(self.blockers)} things have to be put right first.",
            blockers=self.blockers,
            untouched="Nothing was written.",
            next_step="Then run the same command again.",
        )

    def require_way(self) -> None:
        """Raises Blocked where something is in the way."""
        if self.blockers:
            raise self.blocked()


def make_plan(database: Database, move: Move, settings: Settings, *, default_business: str | None) -> Plan:
    """Look at the database, read-only, in one snapshot."""
    assigned = _owners_file(move, settings)
    with database.reading() as cursor:
        has_journal = journal.exists(cursor)
        row = journal.load(cursor, move.key_in(database.schema)) if has_journal else None
        last = journal.last_run(cursor, move.key_in(database.schema)) if has_journal else None
        retired = row.retired_schema if row is not None else None
        located = locate(cursor, move, database.schema, source_schema=retired)
        around = look_around(cursor, located, fresh=row is None)
        found = [
            *blockers(move, located.facts, around),
            *(_left_behind(cursor, move, located, around, has_journal=has_journal) if row is None else ()),
            *_resume_blockers(cursor, move, database, row, located),
        ]
        noticed = warnings(move, located.facts, around)
        if found:
            return _plan(located, has_journal, row, last, blockers=found, warnings=noticed)
        default_owner, problems = _default_owner(cursor, located, row, default_business)
        question = Question(
            default_owner=default_owner,
            assigned=assigned,
            has_journal=has_journal,
            keep_target=settings.on_conflict == "keep-target",
        )
        problems += _ambiguous(cursor, located)
        if assigned is not None:
            problems += _unknown_assigned(cursor, located, question)
        if row is not None:
            return _plan(
                located,
                has_journal,
                row,
                last,
                blockers=problems,
                default_owner=default_owner,
                assigned=assigned,
                warnings=noticed,
                counts=census.counts(cursor, located.names),
                references=census.reference_counts(cursor, located.names),
                late=late_references(cursor, located.names),
            )
        predicted = census.predict(cursor, located.names, question)
        if predicted.unowned and not problems:
            problems = [_missing_owner(cursor, located, question, predicted.unowned)]
        return _plan(
            located,
            has_journal,
            row,
            last,
            blockers=problems,
            default_owner=default_owner,
            assigned=assigned,
            counts=predicted.counts,
            rules=predicted.rules,
            references=predicted.references,
            warnings=(
                *noticed,
                *_warnings(located, predicted.references, allow_dangling=settings.allow_dangling),
                *_taken_ids(predicted.counts),
            ),
        )


def mapping_fingerprint(move: Move) -> str:
    """Which mapping this code makes: the declaration, the move's transform and the machine's own mapping modules."""
    digest = sha256(f"{move.source}{move.target}{move.namespace}".encode())
    digest.update(Path(find_spec(move.transform.partition(":")[0]).origin).read_bytes())
    for name in _MAPPING_MODULES:
        digest.update((Path(inspect.getfile(estimate)).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


def _plan(
    located: Located,
    journal_exists: bool,
    row: MoveRow | None,
    last_run: RunRow | None,
    *,
    blockers: list[Blocker],
    default_owner: str | None = None,
    assigned: Mapping[str, str] | None = None,
    rules: Mapping[str, int] | None = None,
    counts: Counts | None = None,
    references: ReferenceCounts | None = None,
    late: int = 0,
    warnings: tuple[str, ...] = (),
) -> Plan:
    return Plan(
        located=located,
        journal_exists=journal_exists,
        row=row,
        last_run=last_run,
        default_owner=default_owner,
        assigned=assigned,
        rules=rules or {},
        counts=counts or Counts(),
        references=references or ReferenceCounts(),
        late_references=late,
        blockers=tuple(blockers),
        warnings=warnings,
    )


def _left_behind(
    cursor: extensions.cursor, move: Move, located: Located, around: Surroundings, *, has_journal: bool
) -> list[Blocker]:
    """What moves left behind that the journal has lost; without any journal, their schemas stand in the way too."""
    known = journal.retired_schemas(cursor) if has_journal else set()
    return [
        *frozen_source(located.facts, around),
        *(
            left_behind(move, located.facts, schema=schema, holds_source=holds_source)
            for schema, holds_source in retired_schemas(cursor, move.source.table).items()
            if schema not in known and (holds_source or not has_journal)
        ),
    ]


def _resume_blockers(
    cursor: extensions.cursor, move: Move, database: Database, row: MoveRow | None, located: Located
) -> list[Blocker]:
    """A resume has to be of the same tables and the same mapping."""
    found = []
    if row is None:
        return found
    source, target = located.facts.source, located.facts.target
    if source is not None and source.oid != row.source_oid:
        found.append(
            Blocker(
                code="other_table",
                message=f"{move.source.table} is not the table that this move began with.",
                remedy="Rename the new table away, or roll the move back, then run again.",
            )
        )
    if target is not None and target.oid != row.target_oid:
        found.append(
            Blocker(
                code="other_table",
                message=f"{move.target.table} is not the table that this move began to fill.",
                remedy="Put the table back that the move began with, then run again.",
            )
        )
    if row.retired_schema is not None:
        again = relation(cursor, database.schema, move.source.table)
        if again is not None:
            found.append(
                Blocker(
                    code="new_source",
                    message=f"A new {database.schema}.{move.source.table} has appeared; the old one is retired "
                    f"in {row.retired_schema}.",
                    remedy="Rename the new table away, then run again.",
                )
            )
    if row.milestone is Milestone.COPYING and row.mapping != mapping_fingerprint(move):
        found.append(
            Blocker(
                code="other_mapping",
                message="The rows copied so far were mapped by another version of this code.",
                remedy="Go on with the version that began (see code_version in pipelines.run).",
            )
        )
    return found


def _default_owner(
    cursor: extensions.cursor, located: Located, row: MoveRow | None, given: str | None
) -> tuple[str | None, list[Blocker]]:
    """The owner of rows that nobody refers to: the one given, the one of the attempt before, or the only one."""
    names = located.names
    if given is not None and names.move.owner is None:
        raise _without_tenants(names.move, "--default-business")
    if given is None:
        return (row.default_owner if row is not None and row.default_owner else census.only_owner(cursor, names)), []
    found = census.find_owner(cursor, names, given)
    if len(found) == 1:
        return found[0], []
    what = "no owner" if not found else "more than one owner"
    return None, [
        Blocker(
            code="unknown_default_owner",
            message=f"There is {what} with the id or name {given!r}.",
            remedy=f"Choose one of {names.schema}.{names.move.owner.table}, by {names.move.owner.key} or "
            f"{names.move.owner.label}.",
        )
    ]


def _missing_owner(cursor: extensions.cursor, located: Located, question: Question, count: int) -> Blocker:
    names = located.names
    return no_owner(
        count=count,
        examples=census.rows_without_owner(cursor, names, question),
        candidates=census.owner_candidates(cursor, names),
        command=f"python -m pipelines.{names.move.name} run --default-business",
    )


def _owners_file(move: Move, settings: Settings) -> Mapping[str, str] | None:
    """The owners that a person names in this call. Raises UsageProblem for a file that cannot be used."""
    if settings.owners is None:
        return None
    if move.target.owner is None:
        raise _without_tenants(move, "--owners")
    try:
        text = settings.owners.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageProblem(
            f"The file of owners {settings.owners} cannot be read: {problem}.",
            untouched="Nothing was written.",
            next_step="Give a readable file in UTF-8.",
        ) from None
    return parse_owners(text, owner_column=move.target.owner)


def _without_tenants(move: Move, option: str) -> UsageProblem:
    return UsageProblem(
        f"Rows of {move.target.table} belong to nobody in particular: {option} has no meaning here.",
        untouched="Nothing was written.",
        next_step=f"Run without {option}, and without it in the environment.",
    )


def _unknown_assigned(cursor: extensions.cursor, located: Located, question: Question) -> list[Blocker]:
    names = located.names
    return [
        Blocker(
            code="unknown_in_owners_file",
            message=f"The file of owners names the row {key!r}, which {names.move.source.table} does not have."
            if unknown_row
            else f"The file of owners gives {key!r} to {owner}, which {names.move.owner.table} does not have.",
            remedy="Put the line right or take it out.",
        )
        for key, owner, unknown_row in census.unknown_in_owners_file(cursor, names, question)
    ]


def _ambiguous(cursor: extensions.cursor, located: Located) -> list[Blocker]:
    source, key = located.names.move.source.table, located.names.move.source.key
    return [
        Blocker(
            code="ambiguous_ids",
            message=f"{source} has {one!r} and {other!r}, which are the same UUID; a uuid column that refers to it may "
            "mean either.",
            remedy=f"Delete one of the two rows of {source}, or give it another {key}.",
        )
        for one, other in census.ambiguous_ids(cursor, located.names)
    ]


def _taken_ids(counts: Counts) -> tuple[str, ...]:
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


def _warnings(located: Located, references: ReferenceCounts, *, allow_dangling: bool) -> tuple[str, ...]:
    said = [
        f"Nothing enforces {key.table} after {key.name} is gone; migration 05 gives the column a new type and key."
        for key in located.facts.foreign_keys
    ]
    if references.dangling:
        end = "they stay as they are." if allow_dangling else "they will close the gate; --allow-dangling leaves them."
        said.append(f"{references.dangling} references point to nothing in the old table or the new one: {end}")
    if references.foreign:
        said.append(f"{references.foreign} references point to a row of another owner; they stay as they are.")
    return tuple(said)
