"""What the application does between the rehearsal and the locks of the switch, kind by kind.

The switch looks only at what has moved since; each of these would be lost or doubled if it were not found.
"""

from __future__ import annotations

import pytest

from pipelines.table_move.errors import GateClosed
from pipelines.table_move.status import Phase
from tests import oracle
from tests.application import Application

A, B, C = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2, 3))
STAGE = "INSERT INTO stages (stage_id, business_id, stage_name, stage_description, stage_type, %s) VALUES (gen_random_uuid(), '%s', 'n', 'd', 't', '%s')"
CANONICAL = "6f1c2f0e-8d52-4f0b-9c43-0a7d5b3e21c8"

SETTLED = {
    "a new row": "INSERT INTO prompt_templates VALUES ('new', 'text')",
    "a new row with a reference": "INSERT INTO prompt_templates VALUES ('new', 'text');"
    + STAGE % ("stage_selection_template_id", B, "new"),
    "a new row that an older reference was waiting for": "INSERT INTO prompt_templates VALUES ('new', 'text');"
    "UPDATE stages SET response_generation_template_id = 'new' WHERE business_id = '" + A + "'",
    "a changed text": "UPDATE prompt_templates SET template_text = 'changed' WHERE template_id = 'shared'",
    "a changed name": "UPDATE prompt_templates SET template_name = NULL, description = 'first' WHERE template_id = 'alone'",
    "a changed id": "UPDATE prompt_templates SET template_id = 'renamed' WHERE template_id = 'alone'",
    "every row changed": "UPDATE prompt_templates SET template_text = template_text || '!'",
    "every row written again as it was": "UPDATE prompt_templates SET template_text = template_text",
    "a deleted row": "DELETE FROM prompt_templates WHERE template_id = 'alone'",
    "a deleted row and a new one": "DELETE FROM prompt_templates WHERE template_id = 'alone';"
    "INSERT INTO prompt_templates VALUES ('new', 'text')",
    "all rows deleted": "DELETE FROM prompt_templates; UPDATE stages SET stage_selection_template_id = NULL,"
    " data_extraction_template_id = NULL, response_generation_template_id = NULL",
    "a truncated table": "TRUNCATE prompt_templates; UPDATE stages SET stage_selection_template_id = NULL,"
    " data_extraction_template_id = NULL, response_generation_template_id = NULL",
    "a table written anew by VACUUM FULL": "VACUUM FULL prompt_templates",
    "a reference of a business that had none": STAGE % ("data_extraction_template_id", C, "shared"),
    "a repointed reference": "UPDATE stages SET stage_selection_template_id = 'own' WHERE business_id = '" + A + "'",
    "an emptied reference": "UPDATE stages SET data_extraction_template_id = NULL WHERE business_id = '" + B + "'",
    "a deleted stage": "DELETE FROM stages WHERE business_id = '" + B + "'",
    "a stage that changed otherwise": "UPDATE stages SET stage_name = 'other'",
    "every stage deleted": "DELETE FROM stages",
    "a deleted business": "DELETE FROM businesses WHERE business_id = '" + C + "'",
    "a copied row deleted by its tenant": "DELETE FROM templates WHERE content = 'of one business'",
    "all copied rows deleted": "DELETE FROM templates WHERE template_name <> 'older'",
}

# Decided owners are only ever extended: whose references have gone keeps its row, which the oracle does not know of.
OWNERS_STAY = {
    "a repointed reference",
    "a deleted stage",
    "every stage deleted",
    "all rows deleted",
    "a truncated table",
}
EXTENDED = {
    "rows of the old table without a row of their own, or with a wrong id or owner",
    "pairs of the map that the rules do not give",
    "rows of the new table that come from nowhere",
}

REFUSED = {
    "a copied row edited by its tenant": (
        "UPDATE templates SET content = 'edited' WHERE content = 'of one business'",
        "no_conflicts",
    ),
    "a reference to nothing": (
        "UPDATE stages SET stage_selection_template_id = 'nowhere' WHERE business_id = '" + A + "'",
        "nothing_dangles",
    ),
    "a newer row deleted under its reference": (
        "DELETE FROM templates WHERE template_name = 'older'",
        None,
    ),
    "an old row deleted under its reference": (
        "DELETE FROM prompt_templates WHERE template_id = 'own'",
        None,
    ),
}


@pytest.fixture
def filled(application: Application) -> Application:
    """Three businesses, a shared row, one of a single business, one that nobody uses, and a row of the newer kind."""
    for number in (1, 2, 3):
        application.business(number)
    application.template("shared", "of several")
    application.template("own", "of one business")
    application.template("alone", "of nobody")
    application.template(CANONICAL, "with a canonical id")
    older = "6f1c2f0e-8d52-4f0b-9c43-0a7d5b3e21c9"
    application.execute(
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " VALUES (%s, %s, 'older', 't', 'newer kind')",
        (older, B),
    )
    application.stage(1, A, "shared", CANONICAL)
    application.stage(2, A, "shared")
    application.stage(3, B, "shared", "own", "own")
    application.stage(4, B, older)
    application.execute("ANALYZE")
    return application


@pytest.mark.parametrize("what", SETTLED)
def test_what_moves_before_the_switch_ends_as_it_was_when_the_locks_were_taken(
    filled: Application, begin, what: str
) -> None:
    going = begin(default_business="Business 1")
    filled.snapshot()
    going.copy()
    going.verify()
    filled.execute(SETTLED[what])
    filled.execute("DROP TABLE before.stages; CREATE TABLE before.stages AS TABLE stages")
    going.switch()
    going.retire()
    going.confirm()
    expected = EXTENDED if what in OWNERS_STAY else set()
    assert oracle.violations(filled, A).keys() <= expected
    assert filled.value("SELECT count(*) FROM pipelines.touched") == 0
    assert (
        filled.value(
            "SELECT count(*) FROM pipelines.reference_change c LEFT JOIN before.stages s ON s.stage_id::text = c.row_key"
            " WHERE c.old_value IS DISTINCT FROM (to_jsonb(s) ->> c.column_name)"
        )
        == 0
    ), "every pre-image is what the reference held, and nothing else is kept"


@pytest.mark.parametrize("what", REFUSED)
def test_what_may_not_be_is_found_under_the_locks_too(filled: Application, begin, what: str) -> None:
    statement, expectation = REFUSED[what]
    going = begin(default_business="Business 1")
    going.copy()
    going.verify()
    filled.snapshot()
    filled.execute(statement)
    filled.execute("DROP TABLE before.stages; CREATE TABLE before.stages AS TABLE stages")
    with pytest.raises(GateClosed) as caught:
        going.switch()
    assert expectation is None or expectation in {check.name.partition("/")[2] for check in caught.value.failed}
    assert filled.rows("SELECT * FROM stages ORDER BY 1") == filled.rows("SELECT * FROM before.stages ORDER BY 1")
    filled.template("the old table is not frozen")


@pytest.mark.parametrize("options", [{}, {"allow_dangling": True}])
@pytest.mark.parametrize(
    "planted",
    [
        "SELECT target_id FROM pipelines.id_map WHERE source_id = 'shared' AND owner_id = '" + B + "'",
        "SELECT '00000000-0000-4000-8000-00000000dead'",
    ],
    ids=["a row of another business", "no row at all"],
)
def test_a_wrong_plan_is_not_carried_out(filled: Application, begin, planted: str, options: dict[str, bool]) -> None:
    going = begin(default_business="Business 1", **options)
    going.copy()
    going.verify()
    filled.execute(
        f"UPDATE pipelines.reference_change SET new_value = ({planted}) WHERE old_value = 'shared'"
        " AND row_key IN (SELECT stage_id::text FROM stages WHERE business_id = '" + A + "')"
    )
    with pytest.raises(GateClosed, match="that is their own"):
        going.switch()
    assert filled.value("SELECT count(*) FROM stages WHERE stage_selection_template_id = 'shared'") == 3


@pytest.mark.parametrize(
    "moves",
    [
        "UPDATE prompt_templates SET template_text = 'moving' WHERE template_id = 'own'",
        "DELETE FROM prompt_templates WHERE template_id = 'alone'",
        "UPDATE prompt_templates SET template_text = 'moving' WHERE template_id = 'own';"
        "DELETE FROM pipelines.id_map WHERE source_id = 'own'; DELETE FROM templates WHERE content = 'of one business'",
    ],
    ids=["a changed row", "a deleted row", "a row that moved while it was looked for, and was never copied"],
)
def test_the_rehearsal_leaves_what_moves_to_the_switch_and_nothing_else(filled: Application, begin, moves: str) -> None:
    going = begin(default_business="Business 1")
    going.copy()
    now = going._now()
    filled.execute(moves)
    going.settled = now
    going._note_settled(now)
    going.phase = Phase.VERIFY
    going._check(going.suites)  # what has moved is the switch's affair

    filled.execute("UPDATE pipelines.id_map SET source_hash = 'another'::bytea WHERE source_id = 'shared'")
    with pytest.raises(GateClosed, match="source_is_as_read"):
        going._check(going.suites)


def test_an_old_row_that_was_never_copied_is_missed_by_the_rehearsal(filled: Application, begin) -> None:
    going = begin(default_business="Business 1")
    going.copy()
    filled.execute("DELETE FROM pipelines.id_map WHERE source_id = 'alone'")
    going.settled = going._now()  # as if the copy had forgotten it, and nobody looked
    going.phase = Phase.VERIFY
    with pytest.raises(GateClosed, match="balance_holds"):
        going._check(going.suites)
