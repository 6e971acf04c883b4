"""The same steps as a state machine of Hypothesis, which chooses them."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.search.trial import Find, Laboratory
from tests.search.world import DDL, World, Wrong

rows, owners = st.integers(0, 7), st.integers(1, 3)


class Machine(RuleBasedStateMachine):
    """One world, on a laboratory that its subclass has. A find ends the sequence and is kept: nothing fails here."""

    laboratory: Laboratory
    found: list[tuple[Find, list]]

    def __init__(self) -> None:
        super().__init__()
        self.world = None if self.over() else World(self.laboratory)

    def over(self) -> bool:
        """There is no time left."""
        return False

    def teardown(self) -> None:
        if self.world is not None:
            self.world.close()

    def _take(self, name: str, *values: object) -> None:
        if self.world is None or self.over():
            return
        try:
            self.world.take(name, *values)
        except Wrong as wrong:
            self.found.append((wrong.find, self.world.taken))
            self.world.close()
            self.world = None

    @rule()
    def run(self) -> None:
        self._take("run")

    @rule(phase=st.sampled_from(["copy", "verify"]))
    def run_until(self, phase: str) -> None:
        self._take("run_until", phase)

    @rule(
        verb=st.sampled_from(["run", "run", "rollback", "purge"]),
        point=st.integers(1, 220),
        when=st.sampled_from(["before", "after"]),
    )
    def killed(self, verb: str, point: int, when: str) -> None:
        self._take("killed", verb, point, when)

    @rule(accept_loss=st.booleans())
    def rollback(self, accept_loss: bool) -> None:
        self._take("rollback", accept_loss)

    @rule()
    def rollback_dry(self) -> None:
        self._take("rollback_dry")

    @rule()
    def purge(self) -> None:
        self._take("purge")

    @rule()
    def back_from_the_archive(self) -> None:
        self._take("back_from_the_archive")

    @rule(verb=st.sampled_from(["plan", "status", "verify"]))
    def look(self, verb: str) -> None:
        self._take("look", verb)

    @rule(verb=st.sampled_from(["up", "down"]), to=st.integers(0, 5))
    def migrations(self, verb: str, to: int) -> None:
        self._take("migrations", verb, to)

    @rule(row=rows)
    def edit_old(self, row: int) -> None:
        self._take("edit_old", row)

    @rule()
    def add_old(self) -> None:
        self._take("add_old")

    @rule(row=rows)
    def delete_old(self, row: int) -> None:
        self._take("delete_old", row)

    @rule(row=rows, owner=owners)
    def edit_new(self, row: int, owner: int) -> None:
        self._take("edit_new", row, owner)

    @rule(row=rows, owner=owners)
    def delete_new(self, row: int, owner: int) -> None:
        self._take("delete_new", row, owner)

    @rule(owner=owners)
    def add_new(self, owner: int) -> None:
        self._take("add_new", owner)

    @rule(owner=owners, row=rows)
    def add_stage(self, owner: int, row: int) -> None:
        self._take("add_stage", owner, row)

    @rule(stage=rows, place=st.integers(0, 2), row=rows)
    def point_elsewhere(self, stage: int, place: int, row: int) -> None:
        self._take("point_elsewhere", stage, place, row)

    @rule(stage=rows)
    def remove_stage(self, stage: int) -> None:
        self._take("remove_stage", stage)

    @rule(what=st.sampled_from(sorted(DDL)))
    def change_tables(self, what: str) -> None:
        self._take("change_tables", what)

    @rule()
    def another_role(self) -> None:
        self._take("another_role")

    @rule()
    def dump_and_restore(self) -> None:
        self._take("dump_and_restore")
