"""Triggers of the installation that change, keep or swallow what the move writes: named, and never counted as done. Without
the trial before the run, so that it is the phases that find them. Judged by plain SQL."""

from __future__ import annotations

import pytest

from pipelines.table_move.errors import NotAsAsked
from pipelines.table_move.phases import Phases
from tests.application import Application

U1 = "00000001-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
ROWS = "SELECT template_id::text, business_id::text, content, template_name FROM templates ORDER BY 1"
STAGES = "SELECT * FROM stages ORDER BY 1"


def trigger(table: str, when: str, body: str, *, level: str = "ROW") -> str:
    return (
        f"CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;"
        f"CREATE TRIGGER meddler {when} ON {table} FOR EACH {level} EXECUTE FUNCTION meddle()"
    )


INSERTS = {
    "keeps them out": trigger("templates", "BEFORE INSERT", "RETURN NULL;"),
    "keeps one out": trigger("templates", "BEFORE INSERT", "IF NEW.template_name ~ ' b$' THEN RETURN NULL; END IF; RETURN NEW;"),
    "gives ids of its own": trigger("templates", "BEFORE INSERT", "NEW.template_id := gen_random_uuid(); RETURN NEW;"),
    "changes a text": trigger("templates", "BEFORE INSERT", "NEW.content := trim(NEW.content); RETURN NEW;"),
    "changes a text afterwards": trigger(
        "templates", "AFTER INSERT", "UPDATE templates SET content = trim(content) WHERE template_id = NEW.template_id; RETURN NULL;"
    ),
    "gives the row to another owner": trigger(
        "templates", "BEFORE INSERT", "NEW.business_id := (SELECT max(business_id::text) FROM businesses)::uuid; RETURN NEW;"
    ),
    "adds a row of its own": trigger(
        "templates", "AFTER INSERT", "IF pg_trigger_depth() < 2 THEN INSERT INTO templates VALUES (gen_random_uuid(),"
        " NEW.business_id, 'version of ' || NEW.template_name, 't', NEW.content); END IF; RETURN NULL;"
    ),
    "deletes them afterwards": trigger("templates", "AFTER INSERT", "DELETE FROM templates; RETURN NULL;", level="STATEMENT"),
}  # fmt: skip


@pytest.fixture
def filled(application: Application) -> Application:
    for number in (1, 2):
        application.business(number)
    application.template("a", " text of a ")
    application.template("b")
    application.template(U1)
    application.stage(1, application.value("SELECT min(business_id::text) FROM businesses"), "a", "b", U1)
    return application


@pytest.mark.parametrize("careful", [False, True], ids=["fast", "careful"])
@pytest.mark.parametrize("meddler", INSERTS.values(), ids=INSERTS)
def test_inserts_that_a_trigger_meddles_with_are_rolled_back_and_named(
    filled: Application, begin, meddler: str, careful: bool
) -> None:
    if careful:  # a row that is there sends the whole batch that way
        filled.execute(
            "INSERT INTO templates SELECT template_id::uuid, min(business_id::text) OVER ()::uuid, template_name,"
            " template_type, template_text FROM prompt_templates, businesses WHERE template_id = %s LIMIT 1", (U1,)
        )  # fmt: skip
    before = filled.rows(ROWS)
    going = begin(default_business="Business 1")
    filled.execute(meddler)
    with pytest.raises(NotAsAsked) as caught:
        going.copy()
    assert caught.value.exit_code == 3
    assert "public.templates" in caught.value.happened
    assert "trigger meddler" in caught.value.next_step
    assert "text of" not in str(caught.value), "no text of a row"
    assert filled.rows(ROWS) == before
    assert filled.value("SELECT count(*) FROM pipelines.id_map WHERE loaded") == 0


def test_a_trigger_that_swallows_rows_that_are_there_already_leaves_them_to_the_careful_way(
    filled: Application, begin
) -> None:
    """Taken for ours, such a row would go with a rollback."""
    filled.execute(
        "INSERT INTO templates SELECT template_id::uuid, (SELECT min(business_id::text)::uuid FROM businesses), template_name,"
        " template_type, template_text FROM prompt_templates WHERE template_id = %s", (U1,)
    )  # fmt: skip
    going = begin()
    body = "IF EXISTS (SELECT FROM templates t WHERE t.template_id = NEW.template_id) THEN RETURN NULL; END IF; RETURN NEW;"
    filled.execute(trigger("templates", "BEFORE INSERT", body))
    going.copy()
    assert filled.rows("SELECT source_id, disposition, loaded FROM pipelines.id_map ORDER BY 1") == [
        (U1, "already_present", False), ("a", "inserted", True), ("b", "inserted", True),
    ]  # fmt: skip


UPDATES = {
    "keeps the old text": "RETURN NULL;",
    "changes the new text": "NEW.content := upper(NEW.content); RETURN NEW;",
}


@pytest.mark.parametrize("body", UPDATES.values(), ids=UPDATES)
def test_an_update_of_our_row_that_a_trigger_meddles_with_is_rolled_back_and_named(
    filled: Application, begin, body: str
) -> None:
    going = begin()
    going.copy()
    before = filled.rows(ROWS)
    filled.execute("UPDATE prompt_templates SET template_text = 'newer' WHERE template_id = 'a'")
    filled.execute(trigger("templates", "BEFORE UPDATE", body))
    with pytest.raises(NotAsAsked, match=r"1 row is not as the move wrote it \(a\)"):
        going.verify()
    assert filled.rows(ROWS) == before


@pytest.mark.parametrize(
    "body",
    [
        "RETURN NULL;",
        "UPDATE templates SET system_prompt = 'deleted' WHERE template_id = OLD.template_id; RETURN NULL;",
    ],
    ids=["keeps", "marks"],
)
def test_a_row_whose_source_is_gone_and_that_a_trigger_keeps_is_named(filled: Application, begin, body: str) -> None:
    going = begin()
    going.copy()
    before = filled.rows(ROWS)
    filled.execute("UPDATE stages SET stage_selection_template_id = NULL")
    filled.execute("DELETE FROM prompt_templates WHERE template_id = 'a'")
    filled.execute(trigger("templates", "BEFORE DELETE", body))
    with pytest.raises(NotAsAsked, match="1 row is still there after it was deleted"):
        going.verify()
    assert filled.rows(ROWS) == before
    assert filled.value("SELECT count(*) FROM pipelines.id_map") == 3


REFERENCES = {
    "keeps the row": trigger("stages", "BEFORE UPDATE", "RETURN NULL;"),
    "puts the old value back": trigger(
        "stages", "BEFORE UPDATE", "NEW.stage_selection_template_id := OLD.stage_selection_template_id; RETURN NEW;"
    ),
    "puts it back afterwards": trigger(
        "stages", "AFTER UPDATE", "IF pg_trigger_depth() = 1 THEN UPDATE stages SET stage_selection_template_id ="
        " OLD.stage_selection_template_id WHERE stage_id = OLD.stage_id; END IF; RETURN NULL;"
    ),
    "empties another reference": trigger(
        "stages", "BEFORE UPDATE OF stage_selection_template_id", "NEW.response_generation_template_id := NULL; RETURN NEW;"
    ),
    "gives the stage to another business": trigger(
        "stages", "BEFORE UPDATE", "NEW.business_id := (SELECT max(business_id::text) FROM businesses)::uuid; RETURN NEW;"
    ),
}  # fmt: skip


@pytest.mark.parametrize("meddler", REFERENCES.values(), ids=REFERENCES)
def test_a_switch_whose_references_a_trigger_meddles_with_is_rolled_back_and_named(
    filled: Application, begin, meddler: str
) -> None:
    before = filled.rows(STAGES)
    filled.execute(meddler)  # a new trigger is a change of the table, which the switch refuses
    going = begin()
    going.copy()
    going.verify()
    with pytest.raises(NotAsAsked, match=r"public\.stages did not take what UPDATE asked of it: 1 row is not as the"):
        going.switch()
    assert filled.rows(STAGES) == before
    filled.template("the old table is not frozen")


@pytest.mark.parametrize("name", REFERENCES)
def test_late_references_that_a_trigger_meddles_with_are_named_and_the_move_is_not_confirmed(
    filled: Application, begin, name: str
) -> None:
    going: Phases = begin()
    going.copy()
    going.verify()
    going.switch()
    key = filled.stage(2, filled.value("SELECT min(business_id::text) FROM businesses"), "a", None, U1)
    filled.execute(REFERENCES[name])
    before = filled.rows(STAGES)
    going.retire()
    with pytest.raises(NotAsAsked, match=key):
        going.confirm()
    assert filled.rows(STAGES) == before
    assert filled.value("SELECT milestone FROM pipelines.move") == "retired"


def test_undisturbed_triggers_are_in_nobodys_way(filled: Application, begin) -> None:
    for table in ("templates", "stages"):
        filled.execute(
            f"CREATE FUNCTION note_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
            f"CREATE TRIGGER before BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION note_{table}();"
            f"CREATE TRIGGER after AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION note_{table}()"
        )
    going = begin()
    for step in (going.copy, going.verify, going.switch, going.retire, going.confirm):
        step()
    assert filled.value("SELECT milestone FROM pipelines.move") == "confirmed"
