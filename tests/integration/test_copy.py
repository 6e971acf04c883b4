"""Copying and catching up: what the map and the target hold afterwards, read by plain SQL."""

from __future__ import annotations

import pandas as pd
import psycopg2
import pytest

from pipelines.table_move.database.catch_up import catch_up
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.extract import in_range, read_rows
from pipelines.table_move.pure.fingerprint import fingerprints
from pipelines.table_move.pure.ids import name_based_ids
from pipelines.table_move.pure.ranges import Place, Range
from pipelines.templates.move import TEMPLATES
from tests.application import Application
from tests.integration.conftest import copy

HOSTILE = [
    "", " ", "\\N", "\\.", "a\n\\.\nb", '""', '"', "'", "a,b", "tab\there", "cr\rlf\ncrlf\r\n", "\\", "\\\\n", "NULL",
    "null", "NaN", "007", "1e5", "TRUE", "0x1F", "'; DROP TABLE stages;--", "$$", "%s %(x)s", ":name", "{batch} {0}",
    "\ufeffbom", "e\u0301", "é", "\u202egnirts", "\U0001f469\u200d\U0001f4bb", "<script>alert(1)</script>", "\x01\x7f",
    "\u2028\u2029\u0085", "x" * 300_000,
]  # fmt: skip
MAP = "SELECT source_id, owner_id::text, disposition, owner_rule FROM pipelines.id_map ORDER BY 1, 2"


def test_hostile_texts_arrive_byte_for_byte(application: Application, begin) -> None:
    business = application.business(1)
    for number, text in enumerate(HOSTILE):
        application.template(f"t{number}", text, description=text[:1000], template_name=text[:255], template_type=None)
        if text and len(text) < 256:
            application.template(text)
            application.stage(number, business, text)

    going = begin()
    copy(going.attempt)

    rows = application.rows(
        "SELECT count(*), count(*) FILTER (WHERE convert_to(t.content, 'UTF8') = convert_to(p.template_text, 'UTF8'))"
        " FROM prompt_templates p LEFT JOIN pipelines.id_map m ON m.source_id = p.template_id"
        " LEFT JOIN templates t ON t.template_id = m.target_id"
    )
    assert rows == [(application.value("SELECT count(*) FROM prompt_templates"),) * 2]
    assert catch_up(going.attempt) == 0, "nothing has moved"


def test_fingerprints_and_ids_are_the_same_in_sql(application: Application, database: Database, begin) -> None:
    application.business(1)
    for number, text in enumerate(HOSTILE[:-1]):
        application.template(f"t{number}", text, description=None if number % 2 else text, template_name=text)
    going = begin()
    names = going.attempt.names
    with database.reading() as cursor:
        rows = read_rows(cursor, names, in_range(Range(Place(0, 0), None)), with_map=True)
    assert fingerprints(rows[list(TEMPLATES.source.columns)]) == rows["source_hash"].tolist()
    copy(going.attempt)
    assert application.value("SELECT count(*) FROM templates") == len(HOSTILE) - 1
    with database.reading() as cursor:
        everything = dict.fromkeys(("s_in_question", "c_in_question", "m_in_question"), names.everything)
        cursor.execute(names.query("catchup.stale", **everything))
        assert cursor.fetchall() == []
    in_sql = application.rows(
        "SELECT p.template_id, encode(substring(sha256(decode(%s, 'hex') || convert_to(p.template_id, 'UTF8'))"
        " FROM 1 FOR 16), 'hex'), m.target_id::text FROM prompt_templates p JOIN pipelines.id_map m"
        " ON m.source_id = p.template_id",
        (TEMPLATES.namespace.hex,),
    )
    for source_id, digest, target in in_sql:
        assert name_based_ids(TEMPLATES.namespace, [source_id], [None]) == [target]
        plain = target.replace("-", "")
        assert plain[12] == "8"
        assert (plain[:12], plain[13:16], plain[17:]) == (digest[:12], digest[13:16], digest[17:])


@pytest.mark.parametrize("batch_bytes", ["8kB", "64kB", "8MB"])
def test_every_row_is_copied_once_whatever_the_size_of_a_batch(
    demonstration: Application, begin, batch_bytes: str
) -> None:
    demonstration.execute(
        "UPDATE prompt_templates SET template_text = repeat(md5(template_id), 400) WHERE template_id ~ '5'"
    )
    going = begin(default_business="Acme Robotics", batch_bytes=batch_bytes)
    written = copy(going.attempt)
    assert written == demonstration.value("SELECT count(*) FROM pipelines.id_map")
    assert demonstration.value("SELECT count(DISTINCT source_id) FROM pipelines.id_map") == 600
    assert demonstration.value("SELECT sum(rows) FROM pipelines.batch") == 600
    assert copy(begin().attempt) == 0, "a second attempt finds all ranges copied"


def test_catching_up_settles_inserts_changes_deletes_and_new_claims(application: Application, begin) -> None:
    a, b = application.business(1), application.business(2)
    for key in ("stays", "changes", "goes", "shared"):
        application.template(key)
        application.stage(len(key), a, key)
    going = begin()
    copy(going.attempt)
    application.execute("UPDATE prompt_templates SET template_text = 'changed' WHERE template_id = 'changes'")
    application.execute("DELETE FROM prompt_templates WHERE template_id = 'goes'")
    application.template("comes")
    application.stage(100, b, "comes")
    application.stage(101, b, "shared")

    assert catch_up(going.attempt) == 4
    assert catch_up(going.attempt) == 0

    assert application.rows(MAP) == [
        ("changes", a, "inserted", "references"),
        ("comes", b, "inserted", "references"),
        ("shared", a, "inserted", "references"),
        ("shared", b, "inserted", "copy"),
        ("stays", a, "inserted", "references"),
    ]
    assert application.value("SELECT count(*) FROM templates") == 5
    assert application.value(
        "SELECT content FROM templates t JOIN pipelines.id_map m ON m.target_id = t.template_id"
        " WHERE m.source_id = 'changes'"
    ) == "changed"  # fmt: skip


def test_a_row_edited_in_the_target_is_a_conflict_and_is_left_as_it_is(application: Application, begin) -> None:
    a = application.business(1)
    for key in ("edited", "both"):
        application.template(key)
        application.stage(len(key), a, key)
    going = begin()
    copy(going.attempt)
    application.execute("UPDATE templates SET content = 'by a tenant'")
    application.execute("UPDATE prompt_templates SET template_text = 'newer' WHERE template_id = 'both'")

    assert catch_up(going.attempt) == 0

    assert [row[2] for row in application.rows(MAP)] == ["conflict", "conflict"]
    assert application.rows("SELECT DISTINCT content FROM templates") == [("by a tenant",)]
    application.execute("UPDATE templates SET content = 'newer' WHERE content = 'by a tenant'")
    application.execute("UPDATE prompt_templates SET template_text = 'newer'")
    catch_up(going.attempt)
    assert [row[2] for row in application.rows(MAP)] == ["inserted", "inserted"], "resolved by hand"


def test_a_row_that_is_in_the_target_already_is_present_or_a_conflict(application: Application, begin) -> None:
    a = application.business(1)
    equal, other = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
    for key in (equal, other):
        application.template(key, "text", template_name="n", template_type="t")
        application.execute(
            "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
            " VALUES (%s, %s, 'n', 't', %s)",
            (key, a, "text" if key == equal else "another text"),
        )
    before = application.rows("SELECT *, xmin FROM templates ORDER BY 1")
    going = begin()
    copy(going.attempt)
    assert [row[2] for row in application.rows(MAP)] == ["already_present", "conflict"]
    assert application.rows("SELECT *, xmin FROM templates ORDER BY 1") == before


def test_a_business_that_is_deleted_takes_its_rows_and_the_others_keep_theirs(application: Application, begin) -> None:
    a, b = application.business(1), application.business(2)
    application.template("shared")
    application.template("alone")
    application.stage(1, a, "shared", "shared", "alone")
    application.stage(2, b, "shared")
    going = begin(default_business=b)
    copy(going.attempt)
    application.execute("DELETE FROM businesses WHERE business_id = %s", (a,))
    catch_up(going.attempt)
    assert application.rows(MAP) == [("alone", b, "inserted", "default"), ("shared", b, "inserted", "references")]
    assert application.value("SELECT count(*) FROM templates") == 2


def test_a_batch_that_meets_a_duplicate_goes_the_slow_way_and_the_row_stands_once(
    application: Application, begin
) -> None:
    application.business(1)
    application.template("moves")
    going = begin()
    copy(going.attempt)
    application.execute("DELETE FROM pipelines.batch")
    application.execute("UPDATE prompt_templates SET template_text = 'moved' WHERE template_id = 'moves'")
    copy(going.attempt)
    assert application.rows("SELECT content FROM templates") == [("moved",)]
    assert application.value("SELECT count(*) FROM pipelines.id_map") == 1


def test_rejected_rows_are_kept_with_their_reason_and_come_back_when_put_right(application: Application, begin) -> None:
    a = application.business(1)
    application.execute("ALTER TABLE templates ALTER template_type TYPE varchar(5)")
    application.template("bad", template_type="too long")
    application.stage(1, a, "bad")
    going = begin()
    copy(going.attempt)
    assert application.rows("SELECT source_id, owner_id::text, reason FROM pipelines.rejected") == [
        ("bad", a, "value_too_long")
    ]
    application.execute("UPDATE prompt_templates SET template_type = 'short'")
    catch_up(going.attempt)
    assert application.value("SELECT count(*) FROM pipelines.rejected") == 0
    assert application.rows(MAP) == [("bad", a, "inserted", "references")]


def test_a_failing_worker_stops_the_copy_and_leaves_whole_batches(demonstration: Application, begin) -> None:
    demonstration.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.template_name ~ '77' THEN"
        " PERFORM pg_read_file('/nowhere'); END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON templates FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    going = begin(default_business="Acme Robotics", batch_bytes="8kB")
    with pytest.raises(psycopg2.errors.UndefinedFile):
        copy(going.attempt)
    assert demonstration.value("SELECT count(*) FROM pipelines.id_map") == demonstration.value(
        "SELECT count(*) FROM templates WHERE template_name NOT LIKE 'New style%%'", ()
    )
    demonstration.execute("DROP TRIGGER refuse ON templates")
    copy(begin(batch_bytes="16kB").attempt)
    assert demonstration.value("SELECT count(DISTINCT source_id) FROM pipelines.id_map") == 600


def test_triggers_of_the_application_find_their_own_tables(application: Application, begin) -> None:
    application.business(1)
    application.template("t")
    application.execute(
        "CREATE TABLE template_variable_usage (template_id uuid, variable text);"
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO template_variable_usage VALUES (NEW.template_id, 'name'); RETURN NEW; END $$;"
        "CREATE TRIGGER note AFTER INSERT ON templates FOR EACH ROW EXECUTE FUNCTION note()"
    )
    copy(begin().attempt)
    assert application.value("SELECT count(*) FROM template_variable_usage") == 1


def test_an_empty_frame_maps_to_nothing(database: Database, application: Application, begin) -> None:
    application.business(1)
    going = begin()
    with database.reading() as cursor:
        rows = read_rows(cursor, going.attempt.names, in_range(Range(Place(0, 0), None)), with_map=True)
    assert isinstance(rows, pd.DataFrame)
    assert len(rows) == 0
    assert copy(going.attempt) == 0
