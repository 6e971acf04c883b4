"""What a lesser role makes in the application's schema never runs with the mover's rights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.application import Application
from tests.command import ROOT, call
from tests.postgres_tools import psql
from tests.traps import caught, plant


@pytest.fixture
def trapped(application: Application) -> Iterator[Application]:
    """Rows for every way into the new table: copied, for two owners, present, adopted, of another spelling; and traps."""
    one, two = application.business(1), application.business(2)
    application.template("a", "a text")
    application.template("shared", "two owners")
    application.template("00000000-0000-0000-0000-0000000000AA", "upper case")
    application.template("00000000-0000-0000-0000-0000000000bb", "present", template_name="present")
    application.template("adopted", "stands there", template_name="adopted")
    for key, name, text in (("bb", "present", "present"), ("cc", "adopted", "stands there")):
        application.execute(
            "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
            f" VALUES ('00000000-0000-0000-0000-0000000000{key}', %s, %s, 'data_extraction', %s)", (one, name, text),
        )  # fmt: skip
    application.stage(1, one, "a", "shared", "adopted")
    application.stage(2, two, "shared")
    application.stage(3, one, "00000000-0000-0000-0000-0000000000bb")
    application.execute("ALTER TABLE stages ADD selection_template_id uuid")
    application.execute("UPDATE stages SET selection_template_id = '00000000-0000-0000-0000-0000000000AA'")
    plant(application)
    yield application
    application.execute("RESET search_path; DROP OWNED BY trapper")


def verb(application: Application, folder: Path, *arguments: str) -> None:
    reports = {"PIPELINES_REPORT_DIR": str(folder / "reports")}
    answer = call(*arguments, "--json", DATABASE_URL=application.url, **reports)
    assert answer.code == 0, (arguments, answer.err)
    assert caught(application) == [], arguments


def test_a_whole_life_of_the_move_runs_into_no_trap(trapped: Application, tmp_path: Path) -> None:
    owner = ("--default-business", "Business 1")
    verb(trapped, tmp_path, "plan", *owner)
    verb(trapped, tmp_path, "run", "--until", "verify", *owner)
    trapped.execute("UPDATE public.prompt_templates SET template_text = 'changed since' WHERE template_id = 'a'")
    trapped.execute("DELETE FROM public.prompt_templates WHERE template_id = 'shared'")
    trapped.execute("UPDATE public.stages SET stage_selection_template_id = 'a', data_extraction_template_id = NULL")
    trapped.execute(
        "INSERT INTO public.prompt_templates (template_id, template_text, template_name) VALUES ('late', 'came late', 'late')"
    )
    verb(trapped, tmp_path, "run", "--grace", "0s")
    verb(trapped, tmp_path, "verify")
    trapped.execute("UPDATE public.templates SET content = 'edited since' WHERE content = 'changed since'")
    trapped.execute("DELETE FROM public.templates WHERE content = 'came late'")
    verb(trapped, tmp_path, "rollback", "--accept-loss")
    assert trapped.rows("SELECT template_text FROM public.prompt_templates WHERE template_id = 'a'") == [
        ("edited since",)
    ]
    verb(trapped, tmp_path, "run", "--grace", "0s", *owner)
    archive = tmp_path / "archive"
    verb(trapped, tmp_path, "purge", "--archive", str(archive), "--yes")
    verb(trapped, tmp_path, "rollback", "--archive", str(next(archive.iterdir())), "--accept-loss")
    assert trapped.value("SELECT count(*) FROM public.prompt_templates") >= 4


GENERATION_C = """
CREATE TABLE template_variables (variable_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), variable_name varchar(255) NOT NULL UNIQUE);
CREATE TABLE template_variable_usage (
    template_id uuid NOT NULL REFERENCES templates ON DELETE CASCADE, variable_id uuid NOT NULL REFERENCES template_variables,
    UNIQUE (template_id, variable_id));
CREATE FUNCTION note_variables() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE found_name text; found_id uuid;
BEGIN
    DELETE FROM template_variable_usage WHERE template_id = NEW.template_id;
    FOR found_name IN SELECT DISTINCT m[1] FROM regexp_matches(NEW.content, '{([^{}]+)}', 'g') m LOOP
        SELECT variable_id INTO found_id FROM template_variables WHERE variable_name = found_name;
        IF found_id IS NULL THEN
            INSERT INTO template_variables (variable_name) VALUES (found_name) RETURNING variable_id INTO found_id;
        END IF;
        INSERT INTO template_variable_usage VALUES (NEW.template_id, found_id) ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER note_variables AFTER INSERT OR UPDATE OF content ON templates FOR EACH ROW EXECUTE FUNCTION note_variables();
CREATE TABLE seen (what text, operation text);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES (TG_TABLE_NAME, TG_OP);
    PERFORM set_config('search_path', 'public', false);
    RETURN NULL;
END $$;
CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON templates FOR EACH STATEMENT EXECUTE FUNCTION see();
CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON stages FOR EACH STATEMENT EXECUTE FUNCTION see();
CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON prompt_templates FOR EACH STATEMENT EXECUTE FUNCTION see();
"""


def test_the_installations_triggers_find_what_they_name_without_a_schema_on_every_way(
    application: Application, tmp_path: Path
) -> None:
    application.execute(GENERATION_C)
    owner = application.business(1)
    application.template("copied", "Hello {name} of {place}")
    application.template("gone", "{gone}")
    application.stage(1, owner, "copied", "gone")
    application.execute("TRUNCATE seen")
    call("run", "--until", "verify", DATABASE_URL=application.url, PIPELINES_REPORT_DIR=str(tmp_path))
    application.execute("UPDATE prompt_templates SET template_text = '{another}' WHERE template_id = 'copied'")
    application.execute("UPDATE stages SET data_extraction_template_id = NULL")
    application.execute("DELETE FROM prompt_templates WHERE template_id = 'gone'")
    call("run", "--grace", "0s", DATABASE_URL=application.url, PIPELINES_REPORT_DIR=str(tmp_path))
    assert application.rows(
        "SELECT variable_name FROM template_variables JOIN template_variable_usage USING (variable_id)"
    ) == [("another",)]
    application.execute("UPDATE templates SET content = 'edited'")
    call("rollback", DATABASE_URL=application.url, PIPELINES_REPORT_DIR=str(tmp_path))
    assert application.rows("SELECT template_text FROM prompt_templates") == [("edited",)]
    assert application.value("SELECT array_agg(state ORDER BY run_id) FROM pipelines.run") == [
        "stopped",
        "done",
        "rolled_back",
    ]
    assert set(application.rows("SELECT DISTINCT what, operation FROM seen")) >= {
        ("templates", "INSERT"), ("templates", "UPDATE"), ("templates", "DELETE"),
        ("stages", "UPDATE"), ("prompt_templates", "UPDATE"),
    }  # fmt: skip


def test_the_traps_are_traps(trapped: Application) -> None:
    """Who looks for its names in the application's schema runs into them."""
    for path in ("pg_catalog, public, pg_temp", "public, pg_temp"):
        trapped.execute("TRUNCATE canary.caught")
        trapped.execute(f"SET search_path = {path}")
        trapped.execute("SELECT FROM public.prompt_templates WHERE template_id = template_name")
        trapped.execute("SET search_path = pg_catalog, pg_temp")
        assert caught(trapped), path


NUMBERED = sorted((ROOT / "sql").glob("0[1-9]_*.sql"))
FORWARD = [path for path in NUMBERED if not path.stem.endswith(".rollback")]


def soft_deletion(application: Application) -> None:
    """What 03 leaves behind, called by the owner of everything."""
    template = application.value("SELECT min(template_id::text) FROM public.templates")
    stage = application.value("SELECT min(stage_id::text) FROM public.stages")
    assert application.value("SELECT public.soft_delete_stage(%s)", (stage,))
    assert application.value("SELECT public.restore_stage(%s)", (stage,))
    application.execute("UPDATE public.stages SET stage_selection_template_id = NULL")
    application.execute(
        "UPDATE public.stages SET data_extraction_template_id = NULL, response_generation_template_id = NULL"
    )
    application.execute("UPDATE public.stages SET selection_template_id = NULL")
    assert application.value("SELECT public.soft_delete_template(%s)", (template,))
    assert application.value("SELECT public.restore_template(%s)", (template,))
    assert application.value("SELECT count(*) FROM public.living_templates()")


def test_the_numbered_files_run_into_no_trap_by_psql(trapped: Application) -> None:
    for path in [*FORWARD, *reversed(FORWARD)]:
        file = path.name if path not in seen_forward(trapped) else f"{path.stem}.rollback.sql"
        answer = psql(trapped, f"sql/{file}", default_business="Business 1", accept_loss="on")
        assert answer.code == 0, (file, answer.err)
        assert caught(trapped) == [], file
        if path == FORWARD[-1] and file == path.name:
            soft_deletion(trapped)
            assert caught(trapped) == [], "the functions that 03 leaves behind, the triggers of 04 and 05"
    assert trapped.value("SELECT count(*) FROM public.prompt_templates") == 5


def seen_forward(application: Application) -> list[Path]:
    applied = []
    if application.value("SELECT to_regclass('pipelines_migrations.applied') IS NOT NULL"):
        applied = [number for (number,) in application.rows("SELECT number FROM pipelines_migrations.applied")]
    return [path for path in FORWARD if int(path.name[:2]) in applied]


def test_nor_by_the_command_line(trapped: Application) -> None:
    where = {"module": "pipelines.migrations", "DATABASE_URL": trapped.url}
    up = call("up", "--yes", "--default-business", "Business 1", **where)
    assert up.code == 0, up.err
    soft_deletion(trapped)
    for _ in FORWARD:
        down = call("down", "--yes", "--accept-loss", **where)
        assert down.code == 0, down.err
    assert caught(trapped) == []
