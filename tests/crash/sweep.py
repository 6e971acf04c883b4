"""A disturbed command, the same command again, and what is left: compared with the undisturbed one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from psycopg2.extensions import parse_dsn

from tests.application import Application
from tests.conftest import empty_database
from tests.crash import small_move
from tests.crash.faults import Fault
from tests.crash.final_state import ROWS, differences, final_state, residue
from tests.crash.nursery import Child, Ended, Nursery

ATTEMPT = "INSERT INTO pipelines.run ("

Step = tuple[str, ...] | Callable[[Application], None]

RUN = (
    "run", "--json", "--grace", "0s", "--batch-bytes", "8kB", "--workers", "1", "--lock-wait", "5s",
    "--default-business", small_move.DEFAULT,
)  # fmt: skip


# Every trial has a copy of a database, in which nobody can tell the application's own rows from those made since.
ROLLBACK = ("rollback", "--json", "--yes", "--accept-loss", "--lock-wait", "5s")
PURGE = ("purge", "--json", "--yes", "--lock-wait", "5s", "--archive", "{folder}")

# What the application sees of its own tables.
OLD_WORLD = ("templates", "stages", "businesses", "old table", "place of the old table", "constraints", "triggers")


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Verbs in a row: what has happened before, undisturbed, the command that is disturbed, and the one given then.

    In a command `{folder}` is a folder of the trial's own, that of the prepared database where it was made there.
    after: the command that is given until nothing is disturbed any more, where it is not the disturbed one.
    ends: the exit code of that command. compared: what has to come out as it would undisturbed.
    """

    name: str
    prepared: tuple[Step, ...] = ()
    disturbed: tuple[str, ...]
    after: tuple[str, ...] | None = None
    ends: int = 0
    compared: tuple[str, ...] = tuple(ROWS)


SEQUENCES = (
    Sequence(name="run", disturbed=RUN),
    Sequence(name="late references", prepared=(RUN, small_move.write_late), disturbed=RUN),
    Sequence(name="a switch that is given up", disturbed=(*RUN, "--max-write-pause", "1ms"), ends=6),
    Sequence(name="rollback", prepared=(RUN, small_move.write_late), disturbed=ROLLBACK),
    Sequence(name="rollback before the switch", prepared=((*RUN, "--until", "verify"),), disturbed=ROLLBACK),
    Sequence(name="back after a disturbed run", disturbed=RUN, after=ROLLBACK, compared=OLD_WORLD),
    Sequence(name="on after a disturbed rollback", prepared=(RUN,), disturbed=ROLLBACK, after=RUN),
    Sequence(name="purge", prepared=(RUN,), disturbed=PURGE),
    Sequence(name="back after a disturbed purge", prepared=(RUN,), disturbed=PURGE, after=(*ROLLBACK, "--archive", "{folder}"), compared=OLD_WORLD),
    Sequence(name="rollback from the archive", prepared=(RUN, PURGE), disturbed=(*ROLLBACK, "--archive", "{prepared}")),
)  # fmt: skip

# How a command may end whose session or statement was taken away. Whatever it is: no bug, and the next one goes on.
ENDINGS = {"kill": set(), "terminate": {7}, "cancel": {6, 7}}


class Sweep:
    """One sequence on one server: the prepared database that every trial gets a copy of, and what has to come out."""

    def __init__(self, server: str, nursery: Nursery, sequence: Sequence, prepared: str, reports: str) -> None:
        self._server, self._nursery, self._sequence, self._prepared = server, nursery, sequence, prepared
        self._reports = reports
        self._after = sequence.after or sequence.disturbed

    @cached_property
    def undisturbed(self) -> tuple[dict[str, list], tuple[str, ...]]:
        """The state that has to come out, and the points that the disturbed command passes on the way there."""
        with self.copy() as url:
            ended = self.call(url)
            last = self.again(url) if self._sequence.after else ended
            assert last.code == self._sequence.ends, last.err
            with Application(url) as application:
                assert residue(application) == {}
                return final_state(application), ended.points

    @property
    def points(self) -> tuple[str, ...]:
        return self.undisturbed[1]

    def point(self, *labels: str) -> int:
        """The number of the first point of the attempt that these are in, one after the other: what is tried before it and
        taken back has the same statements."""
        number = next((place for place, what in enumerate(self.points) if ATTEMPT in what), 0)
        for label in labels:
            number = next(place for place, what in enumerate(self.points[number:], number + 1) if label in what)
        return number

    def kills(self) -> Iterator[Fault]:
        """Every point: before each statement and commit, in the middle of each COPY, and after the last of all.

        After a statement is before the next one: in between the process touches nothing.
        """
        for number, what in enumerate(self.points, 1):
            yield Fault(point=number)
            if "COPY" in what and "FROM STDIN" in what:
                yield Fault(point=number, when="middle")
            if what.endswith(" COMMIT"):
                yield Fault(point=number, when="after")

    def trial(self, *faults: Fault) -> list[str]:
        """What is wrong after the command met these faults, one after the other, and was then left alone."""
        with self.copy() as url:
            wrong = [found for fault in faults for found in self._meet(url, fault, first=fault is faults[0])]
            last = self.again(url)
            if last.code != self._sequence.ends:
                wrong.append(f"the command given again ended with {last.code}: {last.err[-1500:]}")
            wrong += self.judge(url)
        return [f"{', '.join(map(self._tell, faults))}: {one}" for one in wrong]

    def judge(self, url: str) -> list[str]:
        """What is not as it has to be in the end."""
        expected, _ = self.undisturbed
        with Application(url) as application:
            wrong = []
            if application.exists("pipelines.run"):  # else it was disturbed before there was a journal
                wrong = [f"left behind: {name} ({count})" for name, count in residue(application).items()]
            names = self._sequence.compared
            found = differences(final_state(application, names), {name: expected[name] for name in names})
        return wrong + [f"{name}: too many {more}, missing {less}" for name, (more, less) in found.items()]

    def _meet(self, url: str, fault: Fault, *, first: bool) -> Iterator[str]:
        ended = self.call(url, fault)
        allowed = ENDINGS[fault.action] | ({-9} if fault.action == "kill" else {self._sequence.ends})
        if not first:
            allowed |= {self._sequence.ends}  # a second run passes fewer points
        if ended.code not in allowed:
            yield f"ended with {ended.code}: {ended.err[-1500:]}"

    def _tell(self, fault: Fault) -> str:
        what = self.points[fault.point - 1] if fault.point <= len(self.points) else "?"
        return f"{fault.action} {fault.when} {what}"

    def call(self, url: str, fault: Fault | None = None) -> Ended:
        """The disturbed command, to its end."""
        return self.start(url, fault).wait()

    def again(self, url: str) -> Ended:
        """The command that is given after it."""
        return self._nursery.call(url, *self._options(url, self._after))

    def start(self, url: str, fault: Fault | None = None, **more: str) -> Child:
        """more: options as in the environment, lock_wait for PIPELINES_LOCK_WAIT."""
        return self._nursery.start(url, *self._options(url, self._sequence.disturbed), fault=fault, **more)

    def _options(self, url: str, command: tuple[str, ...]) -> tuple[str, ...]:
        return options(command, self._reports, folder=parse_dsn(url)["dbname"], prepared=self._prepared)

    @contextmanager
    def copy(self) -> Iterator[str]:
        """A database as it was before the disturbed command."""
        with empty_database(self._server, template=self._prepared) as url:
            yield url


def options(command: tuple[str, ...], reports: str, **folders: str) -> tuple[str, ...]:
    """The command with its folders in it."""
    places = {name: f"{reports}/{folder}" for name, folder in folders.items()}
    return (*(one.format(**places) for one in command), "--report-dir", reports)


@contextmanager
def sweep(server: str, nursery: Nursery, sequence: Sequence, reports: str) -> Iterator[Sweep]:
    """The prepared database of a sequence, for as many trials as are wanted."""
    if not nursery.warm:
        with empty_database(server) as url:
            with Application(url) as application:
                small_move.fill(application)
            nursery.warm_up(url, *options(RUN, reports, folder="warm"))
    with empty_database(server) as url:
        with Application(url) as application:
            small_move.fill(application)
        name = parse_dsn(url)["dbname"]
        for step in sequence.prepared:
            if callable(step):
                with Application(url) as application:
                    step(application)
            else:
                ended = nursery.call(url, *options(step, reports, folder=name))
                assert ended.code == 0, ended.err
        yield Sweep(server, nursery, sequence, name, reports)
