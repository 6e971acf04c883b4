"""What the tables of a move are, as plain values, and what has changed between two looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a table: the table itself, a column, a constraint, a trigger.

    place: the number of a column, which another one of the same name does not have. said: its aspects, in the words of
    the catalog.
    """

    table: str
    kind: str
    name: str
    place: int
    said: Mapping[str, str | None]


Definition = tuple[Part, ...]


def differences(before: Definition, now: Definition) -> tuple[str, ...]:
    """What has changed, one phrase per part; aspects by their names, because a default or a check may be private."""
    old, new = _by_name(before), _by_name(now)
    replaced = {table for (table, kind, _) in old if kind == "table" and _identity(old, table) != _identity(new, table)}
    phrases = [_whole(new, table) for table in sorted(replaced)]
    for key in dict.fromkeys((*old, *new)):
        if key[0] not in replaced and old.get(key) != new.get(key):
            phrases.append(_phrase(key, old.get(key), new.get(key)))
    return tuple(phrases)


def _by_name(parts: Iterable[Part]) -> dict[tuple[str, str, str], Part]:
    return {(part.table, part.kind, part.name): part for part in parts}


def _identity(parts: Mapping[tuple[str, str, str], Part], table: str) -> str | None:
    found = parts.get((table, "table", ""))
    return None if found is None else found.said["identity"]


def _whole(new: Mapping[tuple[str, str, str], Part], table: str) -> str:
    return f"{table} is another table" if (table, "table", "") in new else f"{table} is gone"


def _phrase(key: tuple[str, str, str], old: Part | None, new: Part | None) -> str:
    table, kind, name = key
    part = f"{table}.{name}" if kind == "column" else f"the {kind} {name} of {table}" if kind != "table" else table
    if old is None:
        return f"{part} is new"
    if new is None:
        return f"{part} is gone"
    if old.place != new.place:
        return f"{part} is another column"
    return f"{part} has another {' and '.join(_changed(old, new))}"


def _changed(old: Part, new: Part) -> Iterator[str]:
    return (aspect for aspect in new.said if old.said.get(aspect) != new.said[aspect])
