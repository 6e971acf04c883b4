"""Which columns of an old row an edit of its new row goes to: those that differ from what the mapping makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.table_move.pure.facts import ColumnLimit

Values = Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What goes into one old row. `values`: the new texts by source column. `fits`: the whole edit has a place."""

    source_id: str
    target_id: str
    values: Values
    fits: bool


def edit_of(
    source_id: str,
    target_id: str,
    *,
    made: Values | None,
    found: Values,
    back: Sequence[tuple[str, str]],
    limits: Mapping[str, ColumnLimit],
) -> Edit:
    """One edit.

    made: what the mapping makes of the old row, by target column; None where it is not what was loaded.
    found: what stands in the target. back: (target column, source column). limits: of the source's columns.
    """
    if made is None:
        return Edit(source_id=source_id, target_id=target_id, values={}, fits=False)
    places = dict(back)
    changed = [column for column in found if found[column] != made[column]]
    taken = {
        places[column]: found[column]
        for column in changed
        if column in places and _takes(limits[places[column]], found[column])
    }
    return Edit(source_id=source_id, target_id=target_id, values=taken, fits=len(taken) == len(changed))


def _takes(limit: ColumnLimit, value: str | None) -> bool:
    if value is None:
        return limit.nullable
    return not limit.generated and (limit.characters is None or len(value) <= limit.characters)
