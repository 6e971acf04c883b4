"""An installation: a generation of the application's tables, some data, some features and settings; drawn, and made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import psycopg2
from hypothesis import strategies as st

from tests.application import Application
from tests.command import ROOT
from tests.search.features import FEATURES, MOVER, PLACES, Feature

SCHEMA = ROOT / "sql" / "demo" / "application.sql"
CANARY = "kanarienvogel"
APPLICATION, LOGIN, SUPER = "search_app", "search_mover", "search_super"
GENERATION_C = """
ALTER TABLE templates ALTER content DROP NOT NULL;
CREATE TABLE template_variables (
    variable_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), variable_name varchar(255) NOT NULL UNIQUE,
    description text NOT NULL, category varchar(50) NOT NULL, is_dynamic boolean NOT NULL DEFAULT true);
CREATE TABLE template_variable_usage (
    usage_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), template_id uuid NOT NULL REFERENCES templates ON DELETE CASCADE,
    variable_id uuid NOT NULL REFERENCES template_variables ON DELETE CASCADE, UNIQUE (template_id, variable_id));
CREATE FUNCTION note_variables() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE found_name text; found_id uuid;
BEGIN
    DELETE FROM template_variable_usage WHERE template_id = NEW.template_id;
    FOR found_name IN SELECT DISTINCT m[1] FROM regexp_matches(NEW.content, '{([^{}]+)}', 'g') m LOOP
        SELECT variable_id INTO found_id FROM template_variables WHERE variable_name = found_name;
        IF found_id IS NULL THEN
            INSERT INTO template_variables (variable_name, description, category, is_dynamic)
            VALUES (found_name, 'found in a text', 'unknown', false) RETURNING variable_id INTO found_id;
        END IF;
        INSERT INTO template_variable_usage (template_id, variable_id) VALUES (NEW.template_id, found_id) ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER note_variables AFTER INSERT OR UPDATE OF content, system_prompt ON templates
    FOR EACH ROW EXECUTE FUNCTION note_variables();
CREATE FUNCTION keep_time() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TRIGGER keep_time BEFORE UPDATE ON templates FOR EACH ROW EXECUTE FUNCTION keep_time();
"""

U1, U2, U3 = (f"0000000{n}-aaaa-4aaa-8aaa-aaaaaaaaaaaa" for n in (1, 2, 3))
UUIDS = (U1, U2, U3, "ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000000")
SLUGS = ("greeting", "a", "A", "007", "null", " a", "é", "e\u0301", "x'; DROP TABLE stages;--", "\\' OR 1=1 --", "%s",
         "{batch}", "a\tb", "a\nb", "k" * 255, "\u202eabc", "😀", "")  # fmt: skip
TEXTS = ("Hello {name}", "", " ", "\\N", "\\.", "a\r\nb", "'; drop table x;--", "%(x)s :y {batch}", "<script>1</script>",
         "{a}{b}{c}{d}{e}", "x" * 3000, "𝔘 e\u0301 \u202e", "quiet", '"', "drop\x01\x1b[31m")  # fmt: skip
NAMES = (None, "", "  ", "Name", "name", "n" * 255, "=1+1", "<b>", "a\nb", "\u00a0")
TYPES = (None, " ", "stage_selection", "data_extraction", "free text", "T")
DESCRIPTIONS = (None, "", " \n", f"first line\r\nsecond {CANARY}", f"\n\t one \x0b\n{CANARY}", "d" * 300)


@dataclass(frozen=True)
class Row:
    key: str
    text: str
    name: str | None = "Name"
    type: str | None = "data_extraction"
    description: str | None = None


@dataclass(frozen=True)
class Stage:
    """business: 1 to 3. References: the number of a row, or a value."""

    business: int
    references: tuple[int | str | None, int | str | None, int | str | None]


@dataclass(frozen=True)
class There:
    """A row of the new table. like: equal to the old row of this number, under its own id where `same_id`."""

    business: int
    like: int | None = None
    same_id: bool = False
    edited: bool = False


@dataclass(frozen=True)
class Installation:
    generation: str = "A"
    rows: tuple[Row, ...] = ()
    stages: tuple[Stage, ...] = ()
    there: tuple[There, ...] = ()
    features: tuple[Feature, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    superuser: bool = False
    arguments: tuple[str, ...] = ("--default-business", "Business 1")

    def smaller(self) -> list[Installation]:
        """This one without one thing."""
        found = []
        for part in ("features", "settings", "there", "stages", "rows"):
            things = getattr(self, part)
            found += [replace(self, **{part: things[:at] + things[at + 1 :]}) for at in range(len(things))]
        plain = Row("greeting", "Hello {name}")
        found += [replace(self, rows=(*self.rows[:at], replace(plain, key=row.key), *self.rows[at + 1 :]))
                  for at, row in enumerate(self.rows) if row != replace(plain, key=row.key)]  # fmt: skip
        if self.generation != "A":
            found.append(replace(self, generation="A"))
        if self.superuser:
            found.append(replace(self, superuser=False))
        if self.arguments[2:]:
            found.append(replace(self, arguments=self.arguments[:2]))
        return found

    def told(self) -> str:
        parts = [f"generation {self.generation}", "superuser" if self.superuser else ""]
        parts += [f"{feature.kind}: {feature.name}" for feature in self.features]
        parts += [f"SET {name} = {value!r}" for name, value in self.settings]
        parts += [repr(row) for row in (*self.rows, *self.stages, *self.there)]
        return "; ".join(filter(None, [*parts, " ".join(self.arguments)]))


STANDARD = Installation(
    rows=(
        Row("greeting", "Hello {name} {other}"),
        Row(U1, "drop {name}"),
        Row("third", "quiet", None, None, "from here\nx"),
    ),
    stages=(Stage(1, (0, 1, None)), Stage(2, (0, 2, 1)), Stage(1, (1, 1, 0))),
)
STANDARD_B = replace(STANDARD, generation="B", rows=tuple(replace(row, key=key) for row, key in zip(STANDARD.rows, (U1, U2, U3), strict=True)))  # fmt: skip
STANDARD_C = replace(STANDARD_B, generation="C")


def business(number: int) -> str:
    return str(UUID(int=number))


def installations(parameters: Sequence[tuple[str, str]]) -> st.SearchStrategy[Installation]:
    """parameters: settings that a role may have, with values (see `parameters_of`)."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Installation:
        generation = draw(st.sampled_from("AAABC"))
        keys = UUIDS if generation != "A" else (*UUIDS[:3], *SLUGS)
        rows = draw(st.lists(st.builds(Row, st.sampled_from(keys), st.sampled_from(TEXTS), st.sampled_from(NAMES),
                    st.sampled_from(TYPES), st.sampled_from(DESCRIPTIONS)), max_size=5, unique_by=lambda row: row.key))  # fmt: skip
        numbers = st.sampled_from([None, None, *range(len(rows))])
        stages = draw(st.lists(st.builds(Stage, st.integers(1, 3), st.tuples(numbers, numbers, numbers)), max_size=4))
        there = draw(st.lists(st.builds(There, st.integers(1, 3), numbers, st.booleans(), st.booleans()), max_size=2)
                     if draw(st.booleans()) else st.just([]))  # fmt: skip
        features = draw(st.lists(st.sampled_from(FEATURES), max_size=3, unique=True))
        settings = draw(st.lists(st.sampled_from(parameters), max_size=2, unique_by=lambda one: one[0]))
        more = draw(st.sampled_from([(), (), (), ("--on-conflict", "keep-target"), ("--allow-dangling",), ("--workers", "1"),
                                     ("--batch-bytes", "1kB")]))  # fmt: skip
        return Installation(
            generation, tuple(rows), tuple(stages), tuple(there), tuple(features), tuple(settings),
            draw(st.booleans()), ("--default-business", "Business 1", *more),
        )  # fmt: skip

    return drawn()


# What would stop the test itself, or every session of anybody, or only make it slow.
LEFT_ALONE = {"session_authorization", "role", "local_preload_libraries", "session_preload_libraries", "post_auth_delay",
              "exit_on_error", "debug_discard_caches", "allow_system_table_mods", "zero_damaged_pages",
              "ignore_checksum_failure", "dynamic_library_path", "debug_deadlocks", "trace_locks"}  # fmt: skip
SPECIAL = {
    "search_path": ("nowhere", "search_app, public", ""), "DateStyle": ("SQL, DMY", "German"), "TimeZone": ("Asia/Kathmandu",),
    "IntervalStyle": ("iso_8601",), "client_encoding": ("LATIN1", "SQL_ASCII"), "lc_messages": ("C",), "statement_timeout": ("1", "50"),
    "lock_timeout": ("1",), "idle_in_transaction_session_timeout": ("10",), "idle_session_timeout": ("10",),
    "transaction_timeout": ("10",), "default_tablespace": ("nowhere",), "temp_tablespaces": ("nowhere",),
    "default_table_access_method": ("nowhere",), "default_text_search_config": ("pg_catalog.german",),
    "application_name": ("x'y %s",), "temp_file_limit": ("0",),
}  # fmt: skip


def parameters_of(server: Application) -> list[tuple[str, str]]:
    """Every parameter that a role can be given, with a value or two that is not its default."""
    found = []
    for name, kind, low, high, options, now in server.rows(
        "SELECT name, vartype, min_val, max_val, enumvals, setting FROM pg_settings"
        " WHERE context IN ('user', 'superuser') AND name !~ '^(log_|lc_|debug_print)' ORDER BY name"
    ):
        if name in LEFT_ALONE:
            continue
        if name in SPECIAL:
            values: tuple[Any, ...] = SPECIAL[name]
        elif kind == "bool":
            values = ("off" if now == "on" else "on",)
        elif kind == "enum":
            values = tuple(value for value in options if value != now)
        elif kind in ("integer", "real"):
            values = tuple({low, high} - {now})
        else:
            continue
        found += [(name, str(value)) for value in values]
    return found


def make_roles(server: Application) -> None:
    """Once for each server: the application's role, a login that is its member, and a superuser."""
    for role, may in ((APPLICATION, ""), (LOGIN, f"IN ROLE {APPLICATION}"), (SUPER, "SUPERUSER")):
        if not server.rows("SELECT FROM pg_roles WHERE rolname = %s", (role,)):
            server.execute(f"CREATE ROLE {role} LOGIN {may}")


def fill(application: Application, wanted: Installation) -> tuple[Feature, ...]:
    """Make it in an empty database. Returns the features that could be made."""
    application.execute("SET client_min_messages = error;" + SCHEMA.read_text(encoding="utf-8"))
    for number in (1, 2, 3):
        application.business(number)
    for row in wanted.rows:
        text = row.text if row.text in ("", " ") else f"{row.text} {CANARY}"
        application.template(row.key, text, template_name=row.name, template_type=row.type, description=row.description)
    for number, there in enumerate(wanted.there):
        _new_row(application, wanted, number, there)
    for number, stage in enumerate(wanted.stages):
        values = [wanted.rows[one].key if isinstance(one, int) and one < len(wanted.rows) else None if isinstance(one, int) else one
                  for one in stage.references]  # fmt: skip
        application.stage(number, business(stage.business), *values)
    application.execute(f"UPDATE stages SET stage_description = '{CANARY}', created_at = '2020-01-01'")
    if wanted.generation in "BC":
        application.execute(
            "; ".join(f"ALTER TABLE stages ALTER {place} TYPE uuid USING {place}::uuid" for place in PLACES)
        )
    if wanted.generation == "C":
        application.execute(GENERATION_C)
    _give(application)
    made = tuple(feature for feature in wanted.features if _made(application, feature))
    name = application.value("SELECT current_database()")
    for role in (LOGIN, SUPER):
        for parameter, value in wanted.settings:
            application.execute(f"ALTER ROLE {role} IN DATABASE {name} SET {parameter} = {_literal(parameter, value)}")
    return made


def _literal(parameter: str, value: str) -> str:
    if parameter in ("search_path", "temp_tablespaces"):
        return value or "''"
    return "'" + value.replace("'", "''") + "'"


def _new_row(application: Application, wanted: Installation, number: int, there: There) -> None:
    row = wanted.rows[there.like] if there.like is not None and there.like < len(wanted.rows) else Row("", "alien")
    same = there.same_id and row.key in UUIDS
    text = row.text if row.text in ("", " ") else f"{row.text} {CANARY}"
    application.execute(
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (row.key if same else str(UUID(int=900 + number)), business(there.business), row.name or "Name",
         row.type if row.type and row.type.strip() else "stage_selection", text + ("?" if there.edited else "")),
    )  # fmt: skip


def _give(application: Application) -> None:
    """Everything is the application's, as it would be had its role made it."""
    name = application.value("SELECT current_database()")
    application.execute(
        f"GRANT CREATE, TEMPORARY ON DATABASE {name} TO {APPLICATION}; ALTER SCHEMA public OWNER TO {APPLICATION}"
    )
    for (table,) in application.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    ):
        application.execute(f"ALTER TABLE {table} OWNER TO {APPLICATION}")
    for (function,) in application.rows(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    ):
        application.execute(f"ALTER FUNCTION {function} OWNER TO {APPLICATION}")


def _made(application: Application, feature: Feature) -> bool:
    """As the application's role; as a superuser what only one may do."""
    sql = feature.sql.replace("{canary}", CANARY).replace("{mover}", MOVER)
    for role in (APPLICATION, "postgres"):
        try:
            application.execute(f"SET ROLE {role}; {sql}")
            return True
        except psycopg2.Error:
            continue
        finally:
            application.execute("RESET ROLE")
    return False
