"""DDL between the rehearsal's look and the locks of the switch, or in the middle of the copy: row versions do not show
it. What it changed is named, nothing is switched, and the next run looks at everything anew."""

from __future__ import annotations

import pytest

from pipelines.table_move.database import cutover
from pipelines.table_move.database.unchanged import require_unchanged
from pipelines.table_move.errors import Blocked, GateClosed
from pipelines.table_move.outcome import noted
from pipelines.table_move.phases import Phases
from tests import oracle
from tests.application import Application

A, B = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2))

SWAP = (
    "ALTER TABLE {0} RENAME {1} TO aside; ALTER TABLE {0} RENAME {2} TO {1}; ALTER TABLE {0} RENAME aside TO {2}".format
)
ANEW = "ALTER TABLE {0} DROP COLUMN {1}; ALTER TABLE {0} ADD COLUMN {1} {2}".format

CHANGED = {
    "two columns of the old table trade their names": (
        SWAP("prompt_templates", "template_text", "description"),
        "prompt_templates.template_text is another column",
    ),
    "a column of the old table is made anew": (
        ANEW("prompt_templates", "template_name", "varchar(255) DEFAULT 'x'"),
        "prompt_templates.template_name is another column",
    ),
    "the last column of the old table is made anew as it was": (
        ANEW("prompt_templates", "template_type", "varchar(50) DEFAULT 'stage_selection'"),
        "prompt_templates.template_type is another column",
    ),
    "a column of the target is made anew": (
        ANEW("templates", "content", "text NOT NULL DEFAULT 'x'"),
        "templates.content is another column",
    ),
    "two columns of the target trade their names": (
        SWAP("templates", "template_name", "template_type"),
        "templates.template_name is another column",
    ),
    "a reference column appears and is filled": (
        "ALTER TABLE stages ADD COLUMN selection_template_id varchar(255); UPDATE stages"
        " SET selection_template_id = 'own' WHERE business_id = '" + A + "'",
        "stages.selection_template_id is new",
    ),
    "two reference columns trade their names": (
        SWAP("stages", "stage_selection_template_id", "data_extraction_template_id"),
        "stages.stage_selection_template_id is another column",
    ),
    "a reference column is made anew": (
        ANEW("stages", "stage_selection_template_id", "varchar(255) DEFAULT 'own'"),
        "stages.stage_selection_template_id is another column",
    ),
    "a reference column changes its type": (
        "ALTER TABLE stages ALTER stage_selection_template_id TYPE text",
        "stages.stage_selection_template_id has another type",
    ),
    "a column of the old table changes its type": (
        "ALTER TABLE prompt_templates ALTER template_type TYPE char(60)",
        "prompt_templates.template_type has another type",
    ),
    "a column of the old table changes its collation": (
        'ALTER TABLE prompt_templates ALTER template_text TYPE text COLLATE "C"',
        "prompt_templates.template_text has another collation",
    ),
    "a column of the target becomes shorter": (
        "ALTER TABLE templates ALTER template_type TYPE varchar(40)",
        "templates.template_type has another type",
    ),
    "a column of the target has another default": (
        "ALTER TABLE templates ALTER system_prompt SET DEFAULT 'private words'",
        "templates.system_prompt has another default",
    ),
    "a CHECK on the target": (
        "ALTER TABLE templates ADD CONSTRAINT whole CHECK (content <> 'private words')",
        "the constraint whole of templates is new",
    ),
    "a trigger on the target": (
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER keep BEFORE INSERT ON templates FOR EACH ROW EXECUTE FUNCTION keep()",
        "the trigger keep of templates is new",
    ),
    "a constraint of the owners goes": (
        "ALTER TABLE businesses DROP CONSTRAINT businesses_business_name_key",
        "the constraint businesses_business_name_key of businesses is gone",
    ),
    "the owners are another table": (
        "ALTER TABLE businesses RENAME TO aside; CREATE TABLE businesses (LIKE aside INCLUDING ALL);"
        "INSERT INTO businesses SELECT * FROM aside",
        "businesses is another table",
    ),
    "the referencing table is another one": (
        "ALTER TABLE stages RENAME TO aside; CREATE TABLE stages (LIKE aside INCLUDING ALL);"
        "INSERT INTO stages SELECT * FROM aside",
        "stages is another table",
    ),
}
IN_MID_COPY = {
    "a column that is read is dropped": (
        "ALTER TABLE prompt_templates DROP COLUMN description",
        "prompt_templates.description is gone",
    ),
    "a column that is written is renamed": (
        "ALTER TABLE templates RENAME content TO body",
        "templates.content is gone; templates.body is new",
    ),
    "a column that is written becomes another type": (
        "ALTER TABLE templates ALTER content TYPE jsonb USING to_jsonb(content)",
        "templates.content has another type",
    ),
    "a reference column is renamed": (
        "ALTER TABLE stages RENAME stage_selection_template_id TO elsewhere",
        "stages.stage_selection_template_id is gone; stages.elsewhere is new",
    ),
    "the target is renamed": ("ALTER TABLE templates RENAME TO elsewhere", "templates is gone"),
    "the referencing table is renamed": ("ALTER TABLE stages RENAME TO elsewhere", "stages is gone"),
}
SAME_ROWS = {
    "the files of all tables are written anew": "VACUUM FULL",
    "the old table is clustered": "CLUSTER prompt_templates USING prompt_templates_pkey",
    "a column is written anew by its own type": "ALTER TABLE prompt_templates ALTER template_text TYPE text"
    " USING upper(template_text)",
    "statistics, comments, storage": "ALTER TABLE prompt_templates ALTER template_text SET STATISTICS 500;"
    "COMMENT ON TABLE stages IS 'said'; ALTER TABLE templates SET (fillfactor = 70)",
    "an index": "CREATE INDEX ON stages (stage_selection_template_id)",
}

OLD_ROWS_AS_THEY_ARE = (
    "DROP TABLE before.stages, before.prompt_templates; CREATE TABLE before.stages AS TABLE stages;"
    "CREATE TABLE before.prompt_templates AS TABLE prompt_templates"
)


@pytest.fixture
def filled(application: Application) -> Application:
    for number in (1, 2):
        application.business(number)
    application.template("shared", "of several", description="of shared")
    application.template("own", "of one business", description="of own")
    application.template("alone", "of nobody", description="of alone")
    application.stage(1, A, "shared", "own")
    application.stage(2, B, "shared")
    application.execute("ANALYZE")
    return application


def is_refused(application: Application, caught: pytest.ExceptionInfo[Blocked], phrase: str) -> None:
    """What happened, what was left, what to do, and nothing that only the database should know."""
    problem = caught.value
    assert problem.exit_code == 3
    assert phrase in problem.happened
    assert "private" not in str(problem)
    assert problem.untouched.endswith("No reference was changed; the old table serves reads and writes as before.")
    assert "run the same command again" in problem.next_step
    assert application.value("SELECT milestone FROM pipelines.move") == "copying"
    assert application.value("SELECT count(*) FROM pg_trigger WHERE tgname = 'pipelines_frozen'") == 0


@pytest.mark.parametrize("what", CHANGED)
def test_a_change_of_the_tables_before_the_switch_is_named_and_the_next_run_looks_anew(
    filled: Application, begin, what: str
) -> None:
    statement, phrase = CHANGED[what]
    going = begin(default_business="Business 1")
    going.copy()
    going.verify()
    filled.execute(statement)
    filled.snapshot()
    with pytest.raises(Blocked) as caught:
        going.switch()
    is_refused(filled, caught, phrase)
    assert filled.rows("SELECT * FROM stages ORDER BY 1") == filled.rows("SELECT * FROM before.stages ORDER BY 1")


@pytest.mark.parametrize("what", CHANGED)
def test_a_change_of_the_tables_during_the_copy_is_named_by_the_rehearsal(
    filled: Application, begin, what: str
) -> None:
    statement, phrase = CHANGED[what]
    going = begin(default_business="Business 1")
    going.copy()
    filled.execute(statement)
    with pytest.raises(Blocked) as caught, noted(going):
        going.verify()
    is_refused(filled, caught, phrase)


@pytest.mark.parametrize("what", IN_MID_COPY)
def test_a_statement_that_meets_another_table_than_it_was_written_for_says_what_was_changed(
    filled: Application, begin, what: str
) -> None:
    statement, phrase = IN_MID_COPY[what]
    going = begin(default_business="Business 1")
    filled.execute(statement)
    with pytest.raises(Blocked) as caught, noted(going):
        going.copy()
        going.verify()
    is_refused(filled, caught, phrase)


def test_a_change_of_the_target_after_the_first_proof_is_seen_when_the_target_is_locked(
    filled: Application, begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is locked at first, and rows that moved are still to be written: others may change the target."""
    going = begin(default_business="Business 1")
    going.copy()
    going.verify()
    lock_target = cutover._lock_target

    def change_first(*arguments: object) -> None:
        monkeypatch.setattr(cutover, "_lock_target", lock_target)
        filled.execute(ANEW("templates", "content", "text NOT NULL DEFAULT 'x'"))
        lock_target(*arguments)

    monkeypatch.setattr(cutover, "_lock_target", change_first)
    with pytest.raises(Blocked) as caught:
        going.switch()
    is_refused(filled, caught, "templates.content is another column")


@pytest.mark.parametrize("what", SAME_ROWS)
def test_what_changes_no_definition_does_not_stop_the_switch(filled: Application, begin, what: str) -> None:
    filled.snapshot()
    going = begin(default_business="Business 1")
    going.copy()
    going.verify()
    for statement in SAME_ROWS[what].split(";"):
        filled.execute(statement)
    filled.execute(OLD_ROWS_AS_THEY_ARE)
    going.switch()
    going.retire()
    going.confirm()
    assert oracle.violations(filled, A) == {}


@pytest.mark.parametrize("until", ["copy", "verify"])
@pytest.mark.parametrize(
    "what",
    [
        "two columns of the old table trade their names",
        "a column of the old table is made anew",
        "a reference column appears and is filled",
        "two reference columns trade their names",
    ],
)
def test_a_change_between_two_runs_is_looked_at_whole(filled: Application, begin, what: str, until: str) -> None:
    filled.snapshot()
    going = begin(default_business="Business 1")
    going.copy()
    if until == "verify":
        going.verify()
    filled.execute(CHANGED[what][0])
    filled.execute(OLD_ROWS_AS_THEY_ARE)
    again = begin(default_business="Business 1")
    again.copy()
    again.verify()
    again.switch()
    again.retire()
    again.confirm()
    assert oracle.violations(filled, A) == {}


def test_a_column_of_the_target_that_is_made_anew_between_two_runs_closes_the_gate(filled: Application, begin) -> None:
    begin(default_business="Business 1").copy()
    filled.execute(CHANGED["a column of the target is made anew"][0])
    again = begin(default_business="Business 1")
    again.copy()
    with pytest.raises(GateClosed, match="no_conflicts"):
        again.verify()


def test_our_own_changes_are_none(filled: Application, begin) -> None:
    """Foreign keys that leave for the switch, and the trigger of the freeze."""
    filled.execute(
        "ALTER TABLE stages ADD CONSTRAINT follows FOREIGN KEY (stage_selection_template_id) REFERENCES prompt_templates"
    )
    going = begin(default_business="Business 1")
    going.copy()
    going.verify()
    going.switch()
    assert filled.value("SELECT count(*) FROM pg_trigger WHERE tgname = 'pipelines_frozen'") == 1
    assert filled.value("SELECT count(*) FROM pg_constraint WHERE conname = 'follows'") == 0
    is_unchanged(going)
    going.retire()
    is_unchanged(going)


def is_unchanged(going: Phases) -> None:
    with going.attempt.database.reading() as cursor:
        require_unchanged(cursor, going.attempt)


def test_a_foreign_key_to_the_old_table_that_comes_after_the_first_look_leaves_with_the_next_run(
    filled: Application, begin
) -> None:
    going = begin(default_business="Business 1")
    going.copy()
    going.verify()
    filled.execute(
        "ALTER TABLE stages ADD CONSTRAINT late FOREIGN KEY (stage_selection_template_id) REFERENCES prompt_templates"
    )
    with pytest.raises(Blocked, match=r"late of public\.stages"):
        going.switch()
    again = begin(default_business="Business 1")
    again.copy()
    again.verify()
    again.switch()
    assert filled.value("SELECT count(*) FROM pipelines.foreign_key WHERE constraint_name = 'late'") == 1
