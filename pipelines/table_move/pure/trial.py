"""What a trial on a few rows met: as blockers where the move would stop there, as warnings where it would go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from pipelines.table_move.errors import Blocker

_SHOWN = 3  # keys in a message


class Act(StrEnum):
    """What was tried, in this order."""

    JOURNAL = "making the journal"
    INSERT = "INSERT"
    UPDATE = "UPDATE"
    REFERENCES = "changing references"
    REFERENCES_BACK = "changing references back"
    DELETE = "DELETE"
    RETIRE = "freezing, moving and dropping a table made like it"


EVENTS = {
    Act.INSERT: "INSERT",
    Act.UPDATE: "UPDATE",
    Act.REFERENCES: "UPDATE",
    Act.REFERENCES_BACK: "UPDATE",
    Act.DELETE: "DELETE",
}
"""What fires a trigger of the table."""

# Another row excludes it, which adoption and the gate decide about; or somebody holds what it needs.
_SAY_NOTHING = ("23505", "23P01", "55P03", "40P01")
_STOPS = (Act.JOURNAL, Act.INSERT, Act.REFERENCES, Act.RETIRE)
_LATER = {
    Act.UPDATE: "where an old row changes while the move is under way, this ends it",
    Act.REFERENCES_BACK: "a rollback would be refused",
    Act.DELETE: "a rollback would leave such rows in the new table",
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """One thing that did not go as it has to.

    table: for people. keys: of the rows that it was tried on. sqlstate: empty where rows were kept or changed.
    answer: what the database says, in words that hold nothing of a row. raised: by a function of the installation.
    meddlers: what of the installation may be behind it, with its table.
    """

    act: Act
    table: str
    keys: tuple[str, ...] = ()
    sqlstate: str = ""
    answer: str = ""
    raised: bool = False
    meddlers: tuple[str, ...] = ()
    only_some: bool = False

    @property
    def says_nothing(self) -> bool:
        """It is no answer to what was tried."""
        return self.sqlstate in _SAY_NOTHING and not self.raised

    @property
    def stops(self) -> bool:
        """Whether the move would end there. Single rows that are refused are rejected, and all of them are listed."""
        return self.act in _STOPS and not self.only_some

    @property
    def message(self) -> str:
        if not self.sqlstate:
            return f"Tried and taken back: {self.answer}"
        more = ", …" if len(self.keys) > _SHOWN else ""
        rows = f" (tried with {', '.join(self.keys[:_SHOWN])}{more})" if self.keys else ""
        return f"Tried and taken back: {self.table} refuses {self.act}, {self.answer}{rows}."

    @property
    def remedy(self) -> str:
        places = " and the ".join(self.meddlers)
        if self.act in (Act.JOURNAL, Act.RETIRE):
            where = f"Look at the {places}" if places else "Look at the event triggers of the database"
            return f"{where}: let it pass, or ALTER EVENT TRIGGER … DISABLE for the time of the run."
        if not places:
            return f"Look at the constraints, domains, generated columns and indexes of {self.table}."
        if self.sqlstate.startswith("23") and not self.raised:
            return f"Look at this constraint, and at the {places}."
        return f"{_why(self.sqlstate)}Look at the {places}: let it pass, or disable it for the time of the run."

    @property
    def warning(self) -> str:
        later = "such rows are rejected, and the gate closes" if self.only_some else _LATER[self.act]
        return f"{self.message.removesuffix('.')}; {later}. {self.remedy}"


def _why(state: str) -> str:
    if state == "42704":
        return "It asks for a setting, or something else, that our session has not (ALTER ROLE … SET … gives one). "
    if state.startswith("42"):
        return "What it names or calls is not there, or not for our role. "
    return ""


def blockers(found: Iterable[Found]) -> tuple[Blocker, ...]:
    """The plan's form of what would end the move."""
    return tuple(
        Blocker(
            code="refused_in_trial" if one.sqlstate else "changed_in_trial",
            message=one.message,
            remedy=one.remedy,
        )
        for one in found
        if one.stops
    )


def warnings(found: Iterable[Found]) -> tuple[str, ...]:
    """What a person should know, though the move goes on."""
    return tuple(one.warning for one in found if not one.stops)


def of_inserts(kinds: Mapping[str, object], met: Mapping[str, Found]) -> list[Found]:
    """What the inserts met, one for each answer.

    kinds: of the ids that were tried, by source id. met: by source id, of those that did not go as they have to. Where
    the database takes no row whose id is of one kind, it will take none; where it takes some, the others are rejected
    one by one.
    """
    taken = {kind for key, kind in kinds.items() if key not in met}
    found: dict[tuple[object, ...], Found] = {}
    for key, one in met.items():
        if one.says_nothing:
            continue
        only_some = bool(one.sqlstate) and kinds[key] in taken and not one.sqlstate.startswith("42")
        answer = (one.sqlstate, only_some, one.answer)
        keys = (*found[answer].keys, key) if answer in found else (key,)
        found[answer] = replace(one, keys=keys, only_some=only_some)
    return list(found.values())
