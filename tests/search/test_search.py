"""A sample of `make search`: always the same installations and sequences of steps, on the newest server."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests import servers
from tests.search.hunt import Hunt, laboratory
from tests.search.trial import Laboratory

pytestmark = pytest.mark.parametrize("server", [servers.NEWEST], indirect=True, ids=servers.name)
LONGEST = 60  # seconds each, where the machine is busy


@pytest.fixture
def found(server: str) -> Iterator[Laboratory]:
    with laboratory(server) as made:
        yield made


def test_whatever_an_installation_has_it_is_moved_and_taken_back_or_refused_in_words(found: Laboratory) -> None:
    hunt = Hunt(found, time.monotonic() + LONGEST, shrinking=15)
    hunt.drawn(examples=15)
    assert hunt.unknown() == {}
    assert found.counts["run: exit 0"], found.counts


def test_whatever_the_order_of_steps_no_row_is_lost_and_every_reference_leads_to_its_text(found: Laboratory) -> None:
    hunt = Hunt(found, time.monotonic() + LONGEST, shrinking=15)
    hunt.steps(examples=4, length=10)
    assert hunt.unknown() == {}
