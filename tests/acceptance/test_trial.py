"""Tried before it is done: what the installation refuses, changes or keeps is a blocker before anything is copied, or a
warning where the move goes on. Nothing of the trial stays, and nothing that a trigger says is repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.test_cases import KEYS_TO_OLD, business, words
from tests.acceptance.test_up_down_up import verb
from tests.application import Application
from tests.integration.test_asked_and_got import INSERTS, REFERENCES, trigger

U1 = "00000001-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


def refusing(body: str, table: str = "templates", when: str = "BEFORE INSERT") -> str:
    return trigger(table, when, f"{body} RETURN NEW;")


def on_ddl(tag: str, event: str = "ddl_command_start") -> str:
    tags = f" WHEN TAG IN ('{tag}')" if tag else ""
    return (
        "CREATE FUNCTION stop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'secret' USING ERRCODE ="
        f" 'DDL01'; END $$; CREATE EVENT TRIGGER no_ddl ON {event}{tags} EXECUTE FUNCTION stop()"
    )


REFUSED, CHANGED = "refused_in_trial", "changed_in_trial"
TO_UUID = (
    "ALTER TABLE stages ALTER response_generation_template_id TYPE uuid USING response_generation_template_id::uuid"
)

# name: (arrangement, blocker's code, words of its message or remedy)
STOPPED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    **{f"an insert: a trigger {name}": (made, CHANGED, ("public.templates", "INSERT")) for name, made in INSERTS.items()},
    **{f"references: a trigger {name}": (made, CHANGED, ("public.stages", "UPDATE")) for name, made in REFERENCES.items()},
    "a trigger refuses": (refusing("RAISE 'secret';"), REFUSED, ("P0001", "trigger meddler (BEFORE, public.meddle)")),
    "a trigger refuses with a state of its own": (refusing("RAISE 'secret' USING ERRCODE = 'APP01';"), REFUSED, ("APP01",)),
    "a trigger finds no row": (refusing("RAISE NO_DATA_FOUND;"), REFUSED, ("P0002",)),
    "a trigger needs a setting": (
        refusing("PERFORM current_setting('app.user');"), REFUSED, ("42704", "asks for a setting", "ALTER ROLE")
    ),
    "a trigger needs a table that is gone": (refusing("INSERT INTO audit_log VALUES (1);"), REFUSED, ("42P01", "is not there")),
    "a trigger calls a function that is gone": (refusing("PERFORM notify_all(NEW);"), REFUSED, ("42883",)),
    "a trigger has a syntax error": (refusing("EXECUTE 'no sql';"), REFUSED, ("42601",)),
    "a trigger notifies with too much": (
        refusing("PERFORM pg_notify('t', repeat('secret', 2000));", when="AFTER INSERT"), REFUSED, ("22023",)
    ),
    "a deferred trigger refuses": (
        "CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'secret'; END $$;"
        "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON templates DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
        " EXECUTE FUNCTION later()", REFUSED, ("P0001", "trigger later"),
    ),
    "a check on the shape of made ids": (
        "ALTER TABLE templates ADD CONSTRAINT old_ids CHECK (template_id::text ~ '^.{14}[1-5]')", REFUSED, ("23514", "old_ids")
    ),
    "a check on the shape of references": (
        "ALTER TABLE stages ADD CONSTRAINT short CHECK (length(data_extraction_template_id) < 9)", REFUSED, ("23514", "short")
    ),
    "a domain": (
        "CREATE DOMAIN tiny AS text CHECK (length(VALUE) < 1); ALTER TABLE templates ADD x tiny DEFAULT NULL;"
        "ALTER TABLE templates ALTER content TYPE tiny", REFUSED, ("23514",),
    ),
    "a generated column": (
        "ALTER TABLE templates ADD n int GENERATED ALWAYS AS (content::int) STORED", REFUSED, ("22P02", "generated columns")
    ),
    "an index over an expression": ("CREATE INDEX ON templates ((content::int))", REFUSED, ("22P02",)),
    "an enum without the label": (
        "CREATE TYPE kind AS ENUM ('a', 'b'); ALTER TABLE templates ALTER template_type TYPE kind USING 'a'::kind",
        REFUSED, ("22P02",),
    ),
    "references: a trigger refuses": (
        refusing("RAISE 'secret' USING ERRCODE = 'APP02';", "stages", "BEFORE UPDATE"), REFUSED, ("APP02", "changing references")
    ),
    "no schemas": (on_ddl("CREATE SCHEMA"), REFUSED, ("DDL01", "event trigger no_ddl (ddl_command_start)")),
    "no triggers": (on_ddl("CREATE TRIGGER"), REFUSED, ("DDL01", "no_ddl")),
    "no changes of tables": (on_ddl("ALTER TABLE"), REFUSED, ("DDL01", "no_ddl")),
    "no drops": (on_ddl("", "sql_drop"), REFUSED, ("DDL01", "no_ddl")),
}  # fmt: skip


@pytest.fixture
def filled(application: Application) -> Application:
    for number in (1, 2):
        application.business(number)
    words("row a", "row b", f"row {U1}", f"stage 1 1 a b {U1}", "stage 2 2 b")(application)
    application.execute("UPDATE prompt_templates SET template_text = ' secret ' WHERE template_id = 'a'")
    application.execute("UPDATE prompt_templates SET template_name = 'name of b' WHERE template_id = 'b'")
    return application


@pytest.mark.parametrize("name", STOPPED)
def test_what_would_end_the_move_is_a_blocker_before_anything_is_written(
    filled: Application, tmp_path: Path, name: str
) -> None:
    arrangement, code, said = STOPPED[name]
    filled.execute(arrangement)
    places, catalog = filled.places(), filled.catalog()

    answer = verb(filled, tmp_path, "run", "--default-business", business(1))

    assert answer.code == 3, answer.err
    found = [one for one in answer.json["blockers"] if one["code"] == code]
    assert found, answer.json["blockers"]
    text = " ".join(f"{one['message']} {one['remedy']}" for one in found)
    for word in said:
        assert word in text, text
    assert "secret" not in answer.err + answer.out
    assert (filled.places(), filled.catalog()) == (places, catalog)


WARNED = {
    "rows are kept from being deleted": (trigger("templates", "BEFORE DELETE", "RETURN NULL;"), "a rollback would leave"),
    "a deletion is refused": (refusing("RAISE 'secret';", when="BEFORE DELETE"), "a rollback would leave"),
    "an update is refused": (refusing("RAISE 'secret';", when="BEFORE UPDATE"), "where an old row changes"),
    "an update is kept out": (trigger("templates", "BEFORE UPDATE", "RETURN NULL;"), "where an old row changes"),
    "references cannot change back": (
        refusing("IF length(NEW.data_extraction_template_id) < 9 THEN RAISE 'secret'; END IF;", "stages", "BEFORE UPDATE"),
        "a rollback would be refused",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNED)
def test_what_the_move_gets_past_is_a_warning(filled: Application, tmp_path: Path, name: str) -> None:
    arrangement, said = WARNED[name]
    filled.execute(arrangement)
    answer = verb(filled, tmp_path, "run", "--until", "verify", "--default-business", business(1))
    assert answer.code == 0, answer.err
    assert said in answer.err
    assert "trigger meddler" in answer.err
    assert "secret" not in answer.err + answer.out


def test_a_trial_changes_nothing_and_is_in_nobodys_way(filled: Application, tmp_path: Path) -> None:
    """An installation with foreign keys to the old table, present and adopted rows, and triggers that do no harm."""
    words(KEYS_TO_OLD, f"there {U1} 1", "there 00000002-aaaa-4aaa-8aaa-aaaaaaaaaaaa 1 name=b")(filled)
    for table in ("templates", "stages", "prompt_templates"):
        filled.execute(
            f"CREATE FUNCTION of_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
            f"CREATE TRIGGER harmless BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION of_{table}()"
        )
    answer = verb(filled, tmp_path, "run", "--default-business", business(1))
    assert answer.code == 0, answer.err
    assert "Tried" not in answer.err
    assert filled.value("SELECT count(*) FROM pipelines.id_map WHERE move <> 'templates'") == 0
    assert filled.value("SELECT count(*) FROM pipelines.touched") == 0
    assert filled.value("SELECT count(*) FROM pg_namespace WHERE nspname ~ 'trial'") == 0


def test_a_row_that_somebody_holds_is_not_waited_for(filled: Application, tmp_path: Path) -> None:
    with Application(filled.url) as other:
        other.execute("BEGIN; UPDATE stages SET stage_name = 'held'")
        answer = verb(
            filled, tmp_path, "run", "--until", "copy", "--default-business", business(1), "--lock-wait", "1s"
        )
        other.execute("ROLLBACK")
    assert answer.code == 0, answer.err
