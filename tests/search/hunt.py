"""Looking for as long as there is time: installations one feature at a time, then drawn ones; sequences of steps; and for
what was found, the smallest thing that shows it."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.application import Application
from tests.fork_server import ForkServer
from tests.search.features import FEATURES
from tests.search.installation import (
    STANDARD,
    STANDARD_B,
    STANDARD_C,
    Installation,
    fill,
    installations,
    make_roles,
    parameters_of,
)
from tests.search.known import KNOWN
from tests.search.machine import Machine
from tests.search.trial import Find, Laboratory, try_out
from tests.search.world import replay

SHRINKING = 60.0  # seconds for one find
_PLAIN: dict[str, Any] = {
    "database": None, "deadline": None, "phases": [Phase.generate], "suppress_health_check": list(HealthCheck),
}  # fmt: skip


@dataclass
class Hunt:
    """What was found, by kind: the find and its smallest reproduction, in words."""

    laboratory: Laboratory
    ends: float
    say: Callable[[str], None] = print
    found: dict[str, str] = field(default_factory=dict)
    shrinking: float = SHRINKING

    def over(self) -> bool:
        return time.monotonic() > self.ends

    def one(self, installation: Installation) -> None:
        self.laboratory.counts["installations"] += 1
        for find in try_out(self.laboratory, installation):
            if find.what not in self.found:
                smallest = installation if find.what in KNOWN else self._smallest(installation, find.what)
                self._note(find, smallest.told())

    def singles(self, number: int) -> None:
        """Every feature alone and every parameter alone, in an order of chance: there may not be time for all."""
        alone = [replace(STANDARD, features=(feature,)) for feature in FEATURES]
        alone += [replace(STANDARD, settings=(one,), superuser=n % 2 == 1) for n, one in enumerate(self._parameters())]
        Random(number).shuffle(alone)
        for installation in (STANDARD, STANDARD_B, STANDARD_C, *alone):
            self._unless_over(installation)

    def drawn(self, *, examples: int, number: int | None = None) -> None:
        """Installations by generator: always the same ones, or those of this number."""

        @settings(max_examples=examples, derandomize=number is None, **_PLAIN)
        @given(installations(self._parameters()))
        def look(installation: Installation) -> None:
            self._unless_over(installation)

        (look if number is None else seed(number)(look))()

    def steps(self, *, examples: int, length: int, number: int | None = None) -> None:
        """Sequences of steps. A class of its own: what it has found is kept on it."""
        hunt = self

        class Here(Machine):
            laboratory = hunt.laboratory
            found: list = []

            def over(self) -> bool:
                return hunt.over()

        Here._hypothesis_internal_use_seed = number
        run_state_machine_as_test(
            Here,
            settings=settings(max_examples=examples, stateful_step_count=length, derandomize=number is None, **_PLAIN),
        )
        for find, taken in Here.found:
            if find.what not in self.found:
                fewest = taken if find.what in KNOWN else self._fewest(taken, find.what)
                self._note(find, "; ".join(f"{name}{values}" for name, values in fewest))

    def unknown(self) -> dict[str, str]:
        return {what: how for what, how in self.found.items() if what not in KNOWN}

    def _parameters(self) -> list[tuple[str, str]]:
        with Application(self.laboratory.server) as application:
            return parameters_of(application)

    def _unless_over(self, installation: Installation) -> None:
        if not self.over():
            self.one(installation)

    def _note(self, find: Find, how: str) -> None:
        self.found[find.what] = f"{how}\n    {find.seen}"
        known = f" (known: {KNOWN[find.what]})" if find.what in KNOWN else ""
        self.say(f"FIND {find.what}{known}\n    {self.found[find.what]}")

    def _smallest(self, installation: Installation, what: str) -> Installation:
        def shows(one: Installation) -> bool:
            return what in {find.what for find in try_out(self.laboratory, one)}

        return _smaller(installation, Installation.smaller, shows, seconds=self.shrinking)

    def _fewest(self, taken: list, what: str) -> list:
        def shorter(steps: list) -> list[list]:
            return [steps[:at] + steps[at + 1 :] for at in reversed(range(len(steps)))]

        def shows(steps: list) -> bool:
            found = replay(self.laboratory, steps)
            return found is not None and found.what == what

        return _smaller(taken, shorter, shows, seconds=self.shrinking)


def _smaller(thing: Any, ways: Callable[[Any], list], shows: Callable[[Any], bool], *, seconds: float) -> Any:
    """The first smaller one that still shows it, again and again, while there is time."""
    ends = time.monotonic() + seconds
    while True:
        for candidate in ways(thing):
            if time.monotonic() > ends:
                return thing
            if shows(candidate):
                thing = candidate
                break
        else:
            return thing


@contextmanager
def laboratory(server: str) -> Iterator[Laboratory]:
    """On a server that is running; its commands fork from a process that has made a move already."""
    with tempfile.TemporaryDirectory(prefix="table-move-search-") as folder, Application(server) as maintenance:
        make_roles(maintenance)
        found = Laboratory(server, ForkServer(), Path(folder), itertools.count(1))
        with found.database() as url, Application(url) as application:
            fill(application, STANDARD)
            found.commands.warm_up(
                "pipelines.templates", ["run", "--default-business", "Business 1", "--grace", "0s", "--report-dir", folder],
                {"DATABASE_URL": url},
            )  # fmt: skip
        yield found
        found.commands.close()
