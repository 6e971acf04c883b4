"""Where the world stands: which table is in charge, and what the old one still takes. From the milestone, never from
text, and said by everything that a person or a program reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pipelines.table_move.status import Milestone


class Stands(StrEnum):
    """The worlds that there are. `retired` holds before and after the last checks."""

    OLD_IN_CHARGE = "old_in_charge"
    SWITCHED = "switched"
    RETIRED = "retired"
    PURGED = "purged"
    ROLLED_BACK = "rolled_back"


OLD_TAKES_WRITES = (Stands.OLD_IN_CHARGE, Stands.ROLLED_BACK)
SWITCHED = (Stands.SWITCHED, Stands.RETIRED, Stands.PURGED)

_STANDS = {
    None: Stands.OLD_IN_CHARGE,
    Milestone.COPYING: Stands.OLD_IN_CHARGE,
    Milestone.SWITCHED: Stands.SWITCHED,
    Milestone.RETIRED: Stands.RETIRED,
    Milestone.CONFIRMED: Stands.RETIRED,
    Milestone.PURGED: Stands.PURGED,
    Milestone.ROLLED_BACK: Stands.ROLLED_BACK,
}


def is_switched(milestone: Milestone | None) -> bool:
    """Whether the new table is in charge."""
    return _STANDS[milestone] in SWITCHED


@dataclass(frozen=True, kw_only=True)
class World:
    """A move as the application meets it. `old` and `new` are the tables' names with the application's schema.

    milestone: None where no move has begun.
    retired_schema: where the old table is kept, once it is retired. archive: the folder that a purge wrote.
    is_going_back: the newest attempt is a rollback.
    """

    milestone: Milestone | None
    schema: str
    old_table: str
    new_table: str
    old_exists: bool = True
    retired_schema: str | None = None
    archive: str | None = None
    is_going_back: bool = False

    @property
    def stands(self) -> Stands:
        return _STANDS[self.milestone]

    @property
    def sentence(self) -> str:
        """For people: which table is in charge, what becomes of a write to the old one, where the old one is."""
        old, new = f"{self.schema}.{self.old_table}", f"{self.schema}.{self.new_table}"
        if self.milestone is None and not self.old_exists:
            return f"No move has begun, and there is no table {old}."
        return {
            None: f"The old table {old} is in charge: no move has begun.",
            Milestone.COPYING: f"The old table {old} is in charge: it takes reads and writes. "
            + (
                "The move is being taken back; that is not complete yet."
                if self.is_going_back
                else "The move has begun; the switch is still to come."
            ),
            Milestone.SWITCHED: f"Switched: the new table {new} is in charge. The old table {old} is frozen: it can be "
            "read, writes to it are refused (SQLSTATE 55000).",
            Milestone.RETIRED: f"Retired: the new table {new} is in charge. The old table is kept as {self._kept}, "
            f"frozen; the name {old} is gone. The last checks are still to come.",
            Milestone.CONFIRMED: f"Retired: the new table {new} is in charge. The old table is kept as {self._kept}, "
            f"frozen; the name {old} is gone.",
            Milestone.PURGED: f"Purged: the new table {new} is in charge. The old table is dropped; its archive was "
            f"written to {self.archive}.",
            Milestone.ROLLED_BACK: f"Rolled back: the old table {old} is in charge and takes reads and writes.",
        }[self.milestone]

    @property
    def _kept(self) -> str:
        return f"{self.retired_schema}.{self.old_table}"


@dataclass(frozen=True, kw_only=True)
class Server:
    """The end of our connection: a host name, an address or a socket's folder; `login` is who connected, `role` who
    acts."""

    host: str
    port: int
    database: str
    role: str
    login: str

    @property
    def label(self) -> str:
        place = f"socket {self.host}, port {self.port}" if self.host.startswith("/") else f"{self.host}:{self.port}"
        login = "" if self.login == self.role else f" (logged in as {self.login})"
        return f"database {self.database} at {place}, as role {self.role}{login}"

    @property
    def sentence(self) -> str:
        return f"{self.label[0].upper()}{self.label[1:]}."


@dataclass(frozen=True, kw_only=True)
class Where:
    """What every output begins with."""

    server: Server
    world: World

    def as_dict(self) -> dict[str, Any]:
        """The keys of the JSON."""
        return {
            "server": asdict(self.server),
            "world": self.world.stands,
            "world_sentence": self.world.sentence,
        }


NOWHERE: dict[str, Any] = {"server": None, "world": None, "world_sentence": None}
"""The same keys, while the database has not been asked."""
