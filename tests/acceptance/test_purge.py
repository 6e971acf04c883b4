"""Purge and back: the archive is proven before the table is dropped, what it brings back is equal to the last bit, and
nothing else is believed. Judged by pg_dump and plain SQL."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shlex
import stat
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from pipelines.table_move.database import retired
from tests.acceptance.test_cases import KEYS_TO_OLD, business, words
from tests.acceptance.test_up_down_up import MAP, verb, world
from tests.application import Application
from tests.command import Answer, call
from tests.postgres_tools import contents

U1 = "00000001-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
ODD = (
    "INSERT INTO prompt_templates (template_id, template_text, description, variables, template_name)"
    " VALUES (E'tab\\t\\\\N', E'a\\n\\\\.\\nb\\r\\n\\\\N \"x\"', '', ARRAY[NULL, 'NULL', '{}', ''], E'\\u0007name'),"
    " ('', '', NULL, '{}', 'empty key'), ('long', repeat('long ', 100000), NULL, '{}', 'n')"
)
RICH = (
    "CREATE DOMAIN short AS varchar(20) CHECK (VALUE <> 'no')",
    "ALTER TABLE prompt_templates ADD kind short DEFAULT 'x' NOT NULL, ADD number bigint GENERATED ALWAYS AS IDENTITY"
    " (START 5 INCREMENT 3), ADD size int GENERATED ALWAYS AS (length(template_text)) STORED,"
    " ADD price numeric(10, 2) DEFAULT 1.5, ADD at timestamptz DEFAULT now(), ADD json jsonb, ADD dropped int,"
    " ADD sorted text COLLATE \"C\" DEFAULT 'it''s 100 %%', ADD owner uuid REFERENCES businesses DEFERRABLE",
    "ALTER TABLE prompt_templates DROP dropped",
    "ALTER TABLE prompt_templates ALTER template_text SET STORAGE EXTERNAL, ALTER description SET COMPRESSION pglz,"
    " ALTER template_name SET STATISTICS 77, ALTER template_type SET (n_distinct = 3)",
    "ALTER TABLE prompt_templates SET (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false)",
    "ALTER TABLE prompt_templates ADD CONSTRAINT \"odd name\" UNIQUE (template_name, template_id) INCLUDE (description)",
    "ALTER TABLE prompt_templates ADD CONSTRAINT later CHECK (template_text <> 'x') NOT VALID",
    "CREATE INDEX \"Index USING\" ON prompt_templates USING btree (lower(template_name) DESC, template_type)"
    " INCLUDE (kind) WITH (fillfactor = 60) WHERE template_type <> 't'",
    "COMMENT ON TABLE prompt_templates IS 'it''s the old one'; COMMENT ON COLUMN prompt_templates.template_id IS 'k';"
    "COMMENT ON CONSTRAINT \"odd name\" ON prompt_templates IS 'u'; COMMENT ON INDEX \"Index USING\" IS 'i';"
    "COMMENT ON INDEX prompt_templates_pkey IS 'pk'",
    "GRANT SELECT, INSERT ON prompt_templates TO PUBLIC; GRANT SELECT (template_id), UPDATE (description)"
    " ON prompt_templates TO reader WITH GRANT OPTION; REVOKE DELETE ON prompt_templates FROM CURRENT_USER",
)  # fmt: skip


@pytest.fixture
def done(application: Application, tmp_path: Path) -> Callable[..., Application]:
    """The move is done for a database in words."""

    def move(*sentences: str, more: tuple[str, ...] = ()) -> Application:
        application.execute("DO $$ BEGIN CREATE ROLE reader; EXCEPTION WHEN duplicate_object THEN END $$")
        for number in (1, 2, 3):
            application.business(number)
        for sentence in sentences:
            words(sentence)(application)
        application.before = world(application)
        answer = verb(application, tmp_path, "run", "--default-business", business(1), *more)
        assert answer.code == 0, answer.err
        application.answer = answer
        return application

    return move


def purged(app: Application, folder: Path) -> Path:
    answer = verb(app, folder, "purge", "--yes", "--archive", str(folder / "archive"))
    assert answer.code == 0, answer.err
    return Path(answer.json["purge"]["archive"])


SMALL = ("row a", "row b", f"row {U1}", "row x text=x", "there 00000002-aaaa-4aaa-8aaa-aaaaaaaaaaaa 1 text=x",
         "stage 1 1 a b x", f"stage 2 2 a {U1}")  # fmt: skip


@pytest.mark.parametrize("sentences", [(*SMALL, KEYS_TO_OLD), (*SMALL, ODD, *RICH)], ids=["plain", "rich"])
def test_purge_and_rollback_from_the_archive_give_back_what_was_there(done, sentences, tmp_path: Path) -> None:
    app = done(*sentences)
    ids = app.rows(MAP)

    archive = purged(app, tmp_path)

    assert not app.exists("pipelines_retired_1.prompt_templates")
    assert app.value("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pipelines_retired%'") == 0
    answer = verb(app, tmp_path, "rollback", "--archive", str(archive))
    assert answer.code == 0, answer.err
    assert answer.json["state"] == "rolled_back"
    assert world(app) == app.before
    again = verb(app, tmp_path, "run")
    assert again.code == 0, again.err
    assert app.rows(MAP) == ids
    assert verb(app, tmp_path, "rollback").code == 0
    assert world(app) == app.before
    app.template("it takes writes")


def test_the_archive_is_data_only_private_and_says_what_it_is(done, tmp_path: Path) -> None:
    app = done(*SMALL)
    rows = app.value("SELECT count(*) FROM pipelines_retired_1.prompt_templates")
    archive = purged(app, tmp_path)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in archive.iterdir()} == {
        "manifest.json": 0o600,
        "rows.copy.gz": 0o600,
    }
    manifest = json.loads((archive / "manifest.json").read_text())
    packed = (archive / "rows.copy.gz").read_bytes()
    plain = gzip.decompress(packed)
    assert (manifest["rows"], manifest["bytes"], manifest["plain_bytes"]) == (rows, len(packed), len(plain))
    assert manifest["sha256"] == hashlib.sha256(packed).hexdigest()
    assert plain.count(b"\n") == rows
    assert [line.split("\t")[0] for line in plain.decode().splitlines()] == sorted(["a", "b", U1, "x"])


def test_all_verbs_know_a_purged_move(done, tmp_path: Path) -> None:
    app = done(*SMALL)
    archive = purged(app, tmp_path)
    places = app.places()
    status = call("status", "--json", DATABASE_URL=app.url)
    assert (status.code, status.json["state"], status.json["source_rows"]) == (0, "purged", 4), status.err
    plan = call("plan", "--json", DATABASE_URL=app.url)
    assert (plan.code, plan.json["state"]) == (0, "purged"), plan.err
    verify = verb(app, tmp_path, "verify")
    assert (verify.code, verify.json["gate"]["failed_critical"]) == (0, 0), verify.err
    report = verb(app, tmp_path, "report")
    assert (report.code, report.json["state"]) == (0, "purged")
    assert app.places() == places
    for name in ("run", "purge"):
        idle = verb(app, tmp_path, name, *(["--yes"] if name == "purge" else []))
        assert (idle.code, idle.json["state"], idle.json["rows_written"]) == (0, "purged", 0), idle.err
    without = verb(app, tmp_path, "rollback")
    assert without.code == 3
    assert f"--archive {archive}" in without.err
    app.execute("CREATE TABLE prompt_templates (x int)")
    for name, more in (("run", ()), ("rollback", ("--archive", str(archive)))):
        blocked = verb(app, tmp_path, name, *more)
        assert (blocked.code, [b["code"] for b in blocked.json["blockers"]]) == (3, ["new_source"]), blocked.err
    app.execute("DROP TABLE prompt_templates")
    late = app.stage(9, business(1), "a")
    again = verb(app, tmp_path, "run")
    assert (again.code, again.json["state"], again.json["rows_written"]) == (0, "purged", 1), again.err
    assert app.value("SELECT stage_selection_template_id FROM stages WHERE stage_id = %s", (late,)) != "a"


def test_run_with_drop_purges_in_the_same_run_and_names_the_way_back(done, tmp_path: Path) -> None:
    app = done(*SMALL, more=("--drop", "--yes", "--archive", str(tmp_path / "archive")))
    assert app.answer.json["state"] == "purged"
    archive = app.answer.json["purge"]["archive"]
    assert f"python -m pipelines.templates rollback --archive {archive}" in app.answer.err
    assert verb(app, tmp_path, "rollback", "--archive", archive).code == 0
    assert world(app) == app.before


def test_the_last_lines_of_a_run_name_the_retired_table_its_size_and_the_ways_to_go(done) -> None:
    app = done(*SMALL)
    said = app.answer.err.splitlines()[-3:]
    assert "The old table is kept as pipelines_retired_1.prompt_templates" in app.answer.json["world_sentence"]
    assert said[0] == "The old table holds 0.0 MB."
    assert ", with DATABASE_URL set as for this call: python -m pipelines.templates rollback" in said[1]
    assert "python -m pipelines.templates purge --yes" in said[2]


def test_a_purge_waits_for_a_move_that_is_done(application: Application, tmp_path: Path) -> None:
    application.business(1)
    words("row a", "stage 1 1 a")(application)
    assert verb(application, tmp_path, "purge", "--yes").code == 3
    assert verb(application, tmp_path, "run", "--until", "copy").code == 0
    answer = verb(application, tmp_path, "purge", "--yes")
    assert (answer.code, "run" in answer.err) == (3, True)


@pytest.mark.parametrize(
    ("oddity", "kind"),
    [
        ("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
         "CREATE TRIGGER own AFTER INSERT ON {old} EXECUTE FUNCTION f()", "trigger own"),
        ("CREATE VIEW v AS SELECT * FROM {old}", "view"),
        ("CREATE STATISTICS s ON template_name, template_type FROM {old}", "extended statistics s"),
        ("ALTER TABLE {old} ENABLE ROW LEVEL SECURITY; ALTER TABLE {old} DISABLE ROW LEVEL SECURITY;"
         "CREATE POLICY p ON {old} USING (true)", "policy p"),
        ("ALTER TABLE {old} REPLICA IDENTITY FULL", "replica identity"),
        ("CREATE TABLE child () INHERITS ({old})", "child"),
        ("ALTER TABLE {old} CLUSTER ON prompt_templates_pkey", "prompt_templates_pkey"),
        ("ALTER INDEX pipelines_retired_1.prompt_templates_pkey SET (fillfactor = 70)", "options of the index"),
        ("CREATE INDEX lower ON {old} (lower(template_name));"
         "ALTER INDEX pipelines_retired_1.lower ALTER COLUMN 1 SET STATISTICS 300", "statistics targets of the index"),
        ("ALTER TABLE {old} ENABLE ROW LEVEL SECURITY", "row security"),
        ("ALTER TABLE {old} ADD number serial", "owned sequence"),
        ("CREATE TABLE other (x varchar(255) REFERENCES {old})", "foreign key"),
    ],
    ids=lambda text: text[:30] if " " not in text[:5] else None,
)  # fmt: skip
def test_what_the_description_has_no_word_for_keeps_the_table(done, oddity: str, kind: str, tmp_path: Path) -> None:
    app = done("row a", "stage 1 1 a")
    app.execute(oddity.format(old="pipelines_retired_1.prompt_templates"))
    places = app.places()
    answer = verb(app, tmp_path, "purge", "--yes", "--archive", str(tmp_path / "archive"))
    assert answer.code == 3, answer.err
    assert any(kind in blocker["message"] for blocker in answer.json["blockers"]), answer.json["blockers"]
    assert app.places() == places
    assert not (tmp_path / "archive").exists()
    statements = [
        blocker["remedy"] for blocker in answer.json["blockers"] if blocker["remedy"].partition(" ")[0].isupper()
    ]
    for statement in statements:
        app.execute(statement)
    if statements:
        answer = verb(app, tmp_path, "purge", "--yes", "--archive", str(tmp_path / "archive"))
        assert answer.code == 0, answer.err


def flip(archive: Path) -> None:
    data = bytearray((archive / "rows.copy.gz").read_bytes())
    data[len(data) // 2] ^= 1
    (archive / "rows.copy.gz").write_bytes(data)


def rewrite(archive: Path, **changes: object) -> None:
    manifest = json.loads((archive / "manifest.json").read_text())
    (archive / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def consistent(archive: Path, plain: bytes) -> None:
    """Other rows, with a manifest that fits them."""
    packed = gzip.compress(plain)
    (archive / "rows.copy.gz").write_bytes(packed)
    rewrite(archive, bytes=len(packed), sha256=hashlib.sha256(packed).hexdigest(), plain_bytes=len(plain),
            plain_sha256=hashlib.sha256(plain).hexdigest(), rows=plain.count(b"\n"))  # fmt: skip


def link(archive: Path) -> None:
    (archive / "rows.copy.gz").rename(archive / "elsewhere")
    (archive / "rows.copy.gz").symlink_to(archive / "elsewhere")


def pipe(archive: Path) -> None:
    (archive / "rows.copy.gz").unlink()
    os.mkfifo(archive / "rows.copy.gz")


DAMAGES = {
    "one flipped bit": flip,
    "truncated": lambda a: os.truncate(a / "rows.copy.gz", (a / "rows.copy.gz").stat().st_size - 5),
    "no rows": lambda a: (a / "rows.copy.gz").unlink(),
    "no manifest": lambda a: (a / "manifest.json").unlink(),
    "a manifest that is none": lambda a: (a / "manifest.json").write_text("["),
    "another move": lambda a: rewrite(a, move="other"),
    "another run": lambda a: rewrite(a, run_id=99),
    "an absolute path": lambda a: rewrite(a, file="/etc/passwd"),
    "a path upwards": lambda a: rewrite(a, table="../../x"),
    "other rows with a manifest that fits": lambda a: consistent(a, b"evil\ttext\t\\N\t{}\tn\tt\n"),
    "a gzip bomb": lambda a: consistent(a, b"\0" * 50_000_000),
    "a link": link,
    "a pipe": pipe,
}


def test_an_archive_that_is_not_the_one_to_the_last_bit_is_refused_and_nothing_changes(done, tmp_path: Path) -> None:
    app = done("row a", "stage 1 1 a")
    archive = purged(app, tmp_path)
    places = app.places()
    for name, damage in DAMAGES.items():
        copy = tmp_path / name
        copy.mkdir()
        for path in archive.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        damage(copy)
        answer = verb(app, tmp_path, "rollback", "--archive", str(copy))
        assert answer.code == 3, (name, answer.err)
        assert "cannot be used" in answer.err, name
        assert "Nothing was changed" in answer.err
    assert app.places() == places
    assert verb(app, tmp_path, "rollback", "--archive", str(archive.parent)).code == 0, "the parent will do"
    assert world(app) == app.before


@pytest.mark.parametrize("point", ["write_archive", "prove_archive", "_note", "committed"])
def test_a_purge_that_is_broken_off_keeps_the_table_or_its_archive(
    done, point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = done("row a", "stage 1 1 a")
    original = retired.purge if point == "committed" else getattr(retired, point)

    def broken(*arguments, **more):
        original(*arguments, **more)
        raise RuntimeError

    with monkeypatch.context() as patched:
        if point == "committed":
            patched.setattr("pipelines.table_move.purger.purge_table", broken)
        else:
            patched.setattr(retired, point, broken)
        assert verb(app, tmp_path, "purge", "--yes", "--archive", str(tmp_path / "archive")).code == 70
    kept = app.exists("pipelines_retired_1.prompt_templates")
    assert kept == (point != "committed")
    assert len(list((tmp_path / "archive").glob("*"))) == (0 if kept else 1), "no half archive is left"
    assert call("status", "--json", DATABASE_URL=app.url).json["state"] == ("done" if kept else "purged")
    answer = verb(app, tmp_path, "purge", "--yes", "--archive", str(tmp_path / "archive"))
    assert (answer.code, answer.json["state"]) == (0, "purged"), answer.err
    assert verb(app, tmp_path, "rollback", "--archive", str(tmp_path / "archive")).code == 0
    assert world(app) == app.before


def test_a_folder_that_cannot_be_written_keeps_the_table(done, tmp_path: Path) -> None:
    app = done("row a", "stage 1 1 a")
    (tmp_path / "file").write_text("in the way")
    answer: Answer = verb(app, tmp_path, "purge", "--yes", "--archive", str(tmp_path / "file"))
    assert answer.code == 3, answer.err
    assert "The retired table is kept" in answer.err
    assert app.exists("pipelines_retired_1.prompt_templates")


def test_a_reader_of_the_retired_table_is_waited_for_and_not_killed(done, tmp_path: Path) -> None:
    app = done("row a", "stage 1 1 a")
    reader = psycopg2.connect(app.url)
    reader.cursor().execute("SELECT * FROM pipelines_retired_1.prompt_templates")
    answer = verb(app, tmp_path, "purge", "--yes", "--lock-wait", "1s", "--archive", str(tmp_path / "archive"))
    assert answer.code == 6, answer.err
    assert "The old table is kept as pipelines_retired_1.prompt_templates" in answer.err
    assert answer.json["world"] == "retired"
    reader.rollback()
    reader.close()
    purged(app, tmp_path)


def test_an_application_in_another_schema_goes_and_comes_back_too(application: Application, tmp_path: Path) -> None:
    business_id = application.business(1)
    words("row a", "row b", "stage 1 1 a b", KEYS_TO_OLD)(application)
    application.execute(
        'CREATE SCHEMA "App \'1"; '
        + "".join(
            f'ALTER TABLE {table} SET SCHEMA "App \'1"; '
            for table in ("businesses", "prompt_templates", "templates", "stages")
        )
    )
    application.execute("""SET search_path = "App '1" """)
    before = contents(application, "prompt_templates", "templates", "stages")
    more = ("--schema", "App '1")
    assert (
        verb(application, tmp_path, "run", "--drop", "--yes", "--archive", str(tmp_path / "archive"), *more).code == 0
    )
    application.execute("UPDATE templates SET system_prompt = 'kept'")
    refused = verb(application, tmp_path, "rollback", "--archive", str(tmp_path / "archive"), *more)
    assert refused.code == 3
    command = shlex.split(refused.err[refused.err.rindex("python -m") :].splitlines()[0])
    answer = call(*command[3:], "--report-dir", str(tmp_path), DATABASE_URL=application.url)
    assert answer.code == 0, answer.err
    assert application.value("SELECT count(*) FROM templates WHERE business_id = %s", (business_id,)) == 2
    application.execute("DELETE FROM templates")
    assert contents(application, "prompt_templates", "templates", "stages") == before
