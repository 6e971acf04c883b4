"""What installations have that nobody told us about: each a statement or a few, by the kind of thing it is.

They are tried one by one and in any combination; one that cannot be made (on this major, beside another one) is left out.
{canary} is a word that must never leave the database, {mover} what tells our sessions from the test's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

PLACES = ("stage_selection_template_id", "data_extraction_template_id", "response_generation_template_id")
FIRST, SECOND, THIRD = PLACES
MOVER = "session_user LIKE 'search\\_%'"
# What a trigger may raise: refusals, and what looks like trouble of the server, of the network, of another session.
STATES = ("P0001", "23514", "23505", "22023", "42501", "0A000", "40001", "40P01", "55P03", "57014", "25006", "53100",
          "57P01", "08006", "XX000", "P0004", "55000", "54000", "72000", "26000", "01000")  # fmt: skip


@dataclass(frozen=True, order=True)
class Feature:
    kind: str
    name: str
    sql: str


def _function(name: str, body: str, *, options: str = "", declare: str = "") -> str:
    return f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql {options} AS $$ {declare} BEGIN {body} END $$;"


def _trigger(name: str, when: str, body: str, *, each: str = "ROW", more: str = "", **settings: str) -> str:
    return (
        _function(name, body, **settings)
        + f"CREATE {more} TRIGGER {name} {when} FOR EACH {each} EXECUTE FUNCTION {name}()"
    )


def _raise(state: str) -> str:
    return (
        f"RAISE EXCEPTION 'no: {{canary}}' USING ERRCODE = '{state}', DETAIL = 'since {{canary}}', HINT = '{{canary}}'"
    )


def _columns() -> dict[str, str]:
    nd = "CREATE COLLATION nd (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
    types = {
        "old id text": "ALTER TABLE prompt_templates ALTER template_id TYPE text",
        "old id char": "ALTER TABLE prompt_templates ALTER template_id TYPE char(255)",
        "old id nondeterministic": f"{nd} ALTER TABLE prompt_templates ALTER template_id TYPE varchar(255) COLLATE nd",
        "old id domain": "CREATE DOMAIN key AS varchar(255) CHECK (VALUE <> 'x');"
        "ALTER TABLE prompt_templates ALTER template_id TYPE key",
        "old id uuid": "ALTER TABLE prompt_templates ALTER template_id TYPE uuid USING template_id::uuid",
        "old id enum": "DO $$ BEGIN EXECUTE 'CREATE TYPE id_enum AS ENUM (' || (SELECT string_agg(quote_literal(template_id), ',')"
        " FROM prompt_templates) || ')'; END $$; ALTER TABLE prompt_templates ALTER template_id TYPE id_enum USING template_id::id_enum",
        "old text varchar": "ALTER TABLE prompt_templates ALTER template_text TYPE varchar(100000)",
        "old text domain": "CREATE DOMAIN words AS text CHECK (VALUE <> ''); ALTER TABLE prompt_templates ALTER template_text TYPE words",
        "old text nullable": "ALTER TABLE prompt_templates ALTER template_text DROP NOT NULL",
        "old text C collation": 'ALTER TABLE prompt_templates ALTER template_text TYPE text COLLATE "C"',
        "old text nondeterministic": f"{nd} ALTER TABLE prompt_templates ALTER template_text TYPE text COLLATE nd",
        "old type enum": "CREATE TYPE kind AS ENUM ('stage_selection', 'data_extraction', 'response_generation');"
        "ALTER TABLE prompt_templates ALTER template_type DROP DEFAULT, ALTER template_type TYPE kind USING"
        " CASE WHEN template_type IN ('stage_selection', 'data_extraction') THEN template_type::kind END",
        "old name text": "ALTER TABLE prompt_templates ALTER template_name TYPE text",
        "old name not null": "ALTER TABLE prompt_templates ALTER template_name SET DEFAULT 'x'",
        "old description jsonb": "ALTER TABLE prompt_templates ALTER description TYPE jsonb USING to_jsonb(description)",
        "old variables jsonb": "ALTER TABLE prompt_templates ALTER variables DROP DEFAULT, ALTER variables TYPE jsonb USING to_jsonb(variables)",
        "new type enum": "CREATE TYPE kind AS ENUM ('stage_selection', 'data_extraction', 'response_generation');"
        "ALTER TABLE templates ALTER template_type TYPE kind USING template_type::kind",
        "new type enum with all": "CREATE TYPE kind AS ENUM ('stage_selection', 'data_extraction', 'free text', 't', 'T');"
        "ALTER TABLE templates ALTER template_type TYPE kind USING template_type::kind",
        "new type domain": "CREATE DOMAIN kind AS varchar(50) CHECK (VALUE <> 'free text'); ALTER TABLE templates ALTER template_type TYPE kind",
        "new id text": "ALTER TABLE templates ALTER template_id TYPE text",
        "new id domain": "CREATE DOMAIN id AS uuid CHECK (VALUE::text !~ '^0'); ALTER TABLE templates ALTER template_id TYPE id",
        "new content varchar": "ALTER TABLE templates ALTER content TYPE varchar(40)",
        "new content char": "ALTER TABLE templates ALTER content TYPE char(400)",
        "new content domain": "CREATE DOMAIN words AS text CHECK (VALUE !~ 'drop'); ALTER TABLE templates ALTER content TYPE words",
        "new content nullable": "ALTER TABLE templates ALTER content DROP NOT NULL",
        "new content nondeterministic": f"{nd} ALTER TABLE templates ALTER content TYPE text COLLATE nd",
        "new content jsonb": "ALTER TABLE templates ALTER content TYPE jsonb USING to_jsonb(content)",
        "new name text": "ALTER TABLE templates ALTER template_name TYPE text",
        "new name short": "ALTER TABLE templates ALTER template_name TYPE varchar(12)",
        "new name char": "ALTER TABLE templates ALTER template_name TYPE char(255)",
        "new name nondeterministic": f"{nd} ALTER TABLE templates ALTER template_name TYPE varchar(255) COLLATE nd",
        "reference text": f"ALTER TABLE stages ALTER {FIRST} TYPE text",
        "reference domain": f"CREATE DOMAIN ref AS varchar(255) CHECK (VALUE !~ '-8'); ALTER TABLE stages ALTER {FIRST} TYPE ref",
        "reference char": f"ALTER TABLE stages ALTER {FIRST} TYPE char(36)",
        "reference short": f"ALTER TABLE stages ALTER {FIRST} TYPE varchar(30)",
        "reference nondeterministic": f"{nd} ALTER TABLE stages ALTER {FIRST} TYPE varchar(255) COLLATE nd",
        "reference array": f"ALTER TABLE stages ALTER {FIRST} TYPE text[] USING ARRAY[{FIRST}]",
        "stage key bigint": "ALTER TABLE stages DROP stage_id, ADD stage_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "stage key of two": "ALTER TABLE stages DROP CONSTRAINT stages_pkey, ADD PRIMARY KEY (business_id, stage_id)",
        "stage key none": "ALTER TABLE stages DROP CONSTRAINT stages_pkey",
        "stage key text with blanks": "ALTER TABLE stages ALTER stage_id TYPE text USING ' ' || stage_id || ' '",
        "old key none": "ALTER TABLE prompt_templates DROP CONSTRAINT prompt_templates_pkey",
        "old key unique": "ALTER TABLE prompt_templates DROP CONSTRAINT prompt_templates_pkey, ADD UNIQUE (template_id)",
        "new key none": "ALTER TABLE templates DROP CONSTRAINT templates_pkey",
        "new key of two": "ALTER TABLE templates DROP CONSTRAINT templates_pkey CASCADE, ADD PRIMARY KEY (template_id, business_id)",
    }
    for table in ("prompt_templates", "templates", "stages"):
        types |= {
            f"{table}: one more": f"ALTER TABLE {table} ADD more text",
            f"{table}: one with a default": f"ALTER TABLE {table} ADD more text DEFAULT 'x'",
            f"{table}: one not null": f"ALTER TABLE {table} ADD more text NOT NULL DEFAULT 'x'; ALTER TABLE {table} ALTER more DROP DEFAULT",
            f"{table}: one with a volatile default": f"ALTER TABLE {table} ADD more uuid DEFAULT gen_random_uuid()",
            f"{table}: serial": f"ALTER TABLE {table} ADD more bigserial",
            f"{table}: identity": f"ALTER TABLE {table} ADD more bigint GENERATED ALWAYS AS IDENTITY",
            f"{table}: generated": f"ALTER TABLE {table} ADD more text GENERATED ALWAYS AS (lower({_text_of(table)})) STORED",
            f"{table}: a default that raises": f"CREATE FUNCTION no_default() RETURNS text LANGUAGE plpgsql AS $$ BEGIN {_raise('P0001')}; END $$;"
            f"ALTER TABLE {table} ADD more text; ALTER TABLE {table} ALTER more SET DEFAULT no_default()",
            f"{table}: one was dropped": f"ALTER TABLE {table} ADD gone text DEFAULT 'x'; ALTER TABLE {table} DROP gone",
            f"{table}: odd name": f'ALTER TABLE {table} ADD "a ""%s b" text DEFAULT \'%(x)s\'',
            f"{table}: unlogged": f"ALTER TABLE {table} SET UNLOGGED",
            f"{table}: storage": f"ALTER TABLE {table} SET (fillfactor = 50, autovacuum_enabled = off), ALTER {_text_of(table)} SET STORAGE EXTERNAL",
            f"{table}: statistics": f"CREATE STATISTICS s_{table} ON {_two_of(table)} FROM {table}; ANALYZE {table}",
            f"{table}: compression": f"ALTER TABLE {table} ALTER {_text_of(table)} SET COMPRESSION pglz",
            f"{table}: comment": f"COMMENT ON TABLE {table} IS 'it''s %s'; COMMENT ON COLUMN {table}.{_text_of(table)} IS E'a\\\\b'",
            f"{table}: column grant": f"GRANT SELECT ({_text_of(table)}) ON {table} TO PUBLIC",
            f"{table}: renamed column": f"ALTER TABLE {table} RENAME {_text_of(table)} TO renamed",
        }
    return types


def _text_of(table: str) -> str:
    return {"prompt_templates": "template_text", "templates": "content", "stages": "stage_name"}[table]


def _two_of(table: str) -> str:
    return {
        "prompt_templates": "template_name, template_type",
        "templates": "template_name, template_type",
        "stages": "stage_name, stage_type",
    }[table]


CONSTRAINTS = {
    "new ids are version 4": "ALTER TABLE templates ADD CHECK (template_id::text ~ '^.{14}4')",
    "new ids are not of ours, deferred": "CREATE FUNCTION v4() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    f" IF NEW.template_id::text ~ '^.{{14}}8' THEN {_raise('23514')}; END IF; RETURN NULL; END $$;"
    "CREATE CONSTRAINT TRIGGER v4 AFTER INSERT ON templates DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION v4()",
    "texts are long": "ALTER TABLE templates ADD CHECK (length(content) > 3)",
    "names are lower case": "ALTER TABLE templates ADD CHECK (template_name = lower(template_name))",
    "names are unique": "ALTER TABLE templates ADD UNIQUE (business_id, template_name)",
    "names are unique, deferred": "ALTER TABLE templates ADD UNIQUE (business_id, template_name) DEFERRABLE INITIALLY DEFERRED",
    "the new key is deferrable": "ALTER TABLE templates DROP CONSTRAINT templates_pkey CASCADE, ADD PRIMARY KEY (template_id) DEFERRABLE INITIALLY DEFERRED",
    "a check that calls a function that raises": "CREATE FUNCTION fits(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
    f" IF $1 ~ 'drop' THEN {_raise('P0001')}; END IF; RETURN true; END $$; ALTER TABLE templates ADD CHECK (fits(content)) NOT VALID",
    "references are short": f"ALTER TABLE stages ADD CHECK (length({FIRST}::text) < 30) NOT VALID",
    "references are not of ours": f"ALTER TABLE stages ADD CHECK ({FIRST}::text !~ '^.{{14}}8')",
    "references differ": f"ALTER TABLE stages ADD CHECK ({FIRST} IS DISTINCT FROM {SECOND}) NOT VALID",
    "a reference is not null": f"ALTER TABLE stages ALTER {FIRST} SET NOT NULL",
    "a reference is unique": f"ALTER TABLE stages ADD UNIQUE ({FIRST}, stage_id)",
    "names of stages are checked, not valid": "ALTER TABLE stages ADD CHECK (stage_name = '{canary}') NOT VALID",
    "keys to the old table": f"ALTER TABLE stages ADD FOREIGN KEY ({FIRST}) REFERENCES prompt_templates",
    "keys to the old table, deferred": f"ALTER TABLE stages ADD FOREIGN KEY ({FIRST}) REFERENCES prompt_templates DEFERRABLE INITIALLY DEFERRED",
    "keys to the old table, cascading": f"ALTER TABLE stages ADD FOREIGN KEY ({FIRST}) REFERENCES prompt_templates ON DELETE CASCADE ON UPDATE CASCADE",
    "keys to the old table, set null": f"ALTER TABLE stages ADD FOREIGN KEY ({FIRST}) REFERENCES prompt_templates ON DELETE SET NULL",
    "keys to the old table, not valid": f"ALTER TABLE stages ADD FOREIGN KEY ({FIRST}) REFERENCES prompt_templates NOT VALID",
    "keys to the old table, match full": f"ALTER TABLE stages ADD FOREIGN KEY ({FIRST}) REFERENCES prompt_templates MATCH FULL NOT VALID",
    "keys to the new table": f"ALTER TABLE stages ADD FOREIGN KEY ({FIRST}) REFERENCES templates NOT VALID",
    "keys to the new table, deferred": f"ALTER TABLE stages ADD FOREIGN KEY ({FIRST}) REFERENCES templates DEFERRABLE INITIALLY DEFERRED NOT VALID",
    "businesses deferred": "ALTER TABLE templates ALTER CONSTRAINT templates_business_id_fkey DEFERRABLE INITIALLY DEFERRED",
    "no key to businesses": "ALTER TABLE templates DROP CONSTRAINT templates_business_id_fkey",
    "an exclusion": "ALTER TABLE templates ADD EXCLUDE USING hash (content WITH =)",
    "another table refers to the old one": "CREATE TABLE versions (template_id varchar(255) REFERENCES prompt_templates)",
    "another table refers to the new one": "CREATE TABLE usages (template_id uuid REFERENCES templates ON DELETE CASCADE)",
    "another table refers to the new one, restrict": "CREATE TABLE usages (template_id uuid REFERENCES templates ON DELETE RESTRICT)",
    "nobody declared it": "CREATE TABLE history (template_id text, doc jsonb); INSERT INTO history SELECT template_id,"
    " jsonb_build_object('t', template_id) FROM prompt_templates",
    "not enforced": "ALTER TABLE templates ADD CHECK (content <> 'x') NOT ENFORCED",
}

INDEXES = {
    "expression": "CREATE INDEX ON templates (lower(content))",
    "expression that raises": "CREATE FUNCTION part(text) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT 1 / (length($1) - 5) $$;"
    "CREATE INDEX ON templates (part(content))",
    "expression of ids that raises": "CREATE INDEX ON templates ((('x' || left(template_id::text, 8))::bit(8)))",
    "expression of references that raises": f"CREATE FUNCTION numbered(text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF $1 ~ '^.{{14}}8' THEN {_raise('22023')}; END IF; RETURN 1; END $$;"
    f"CREATE INDEX ON stages (numbered({FIRST}::text))",
    "btree of texts": "CREATE INDEX ON templates (content)",
    "unique text": "CREATE UNIQUE INDEX ON templates (md5(content))",
    "unique where": "CREATE UNIQUE INDEX ON templates (business_id) WHERE template_type = 'data_extraction'",
    "gin": "CREATE INDEX ON templates USING gin (to_tsvector('simple', content))",
    "hash": "CREATE INDEX ON templates USING hash (content)",
    "brin": "CREATE INDEX ON templates USING brin (created_at)",
    "unique nulls": "CREATE UNIQUE INDEX ON templates (system_prompt) NULLS NOT DISTINCT",
    "unique references": f"CREATE UNIQUE INDEX ON stages ({SECOND}) WHERE {SECOND} IS NOT NULL",
    "old expression": "CREATE INDEX ON prompt_templates (lower(template_text)) WHERE template_type IS NOT NULL",
    "old cluster": "CREATE INDEX old_cluster ON prompt_templates (template_type); ALTER TABLE prompt_templates CLUSTER ON old_cluster",
    "old replica identity": "ALTER TABLE prompt_templates REPLICA IDENTITY FULL",
    "old include": "CREATE UNIQUE INDEX ON prompt_templates (template_id) INCLUDE (template_type)",
    "stages covering": f"CREATE INDEX ON stages ({FIRST}) INCLUDE (stage_name)",
}


def _triggers() -> dict[str, str]:
    found = {
        "changes texts": _trigger("t", "BEFORE INSERT ON templates", "NEW.content := NEW.content || '!'; RETURN NEW;"),
        "trims texts": _trigger("t", "BEFORE INSERT ON templates", "NEW.content := btrim(NEW.content); RETURN NEW;"),
        "changes names": _trigger("t", "BEFORE INSERT ON templates", "NEW.template_name := lower(NEW.template_name); RETURN NEW;"),
        "changes types": _trigger("t", "BEFORE INSERT ON templates", "NEW.template_type := 'data_extraction'; RETURN NEW;"),
        "changes owners": _trigger("t", "BEFORE INSERT ON templates", "NEW.business_id := '00000000-0000-0000-0000-000000000003'; RETURN NEW;"),
        "gives ids": _trigger("t", "BEFORE INSERT ON templates", "NEW.template_id := gen_random_uuid(); RETURN NEW;"),
        "fills a prompt": _trigger("t", "BEFORE INSERT ON templates", "NEW.system_prompt := 'set {canary}'; RETURN NEW;"),
        "sets times": _trigger("t", "BEFORE INSERT ON templates", "NEW.created_at := '2001-01-01'; RETURN NEW;"),
        "keeps all": _trigger("t", "BEFORE INSERT ON templates", "RETURN NULL;"),
        "keeps some": _trigger("t", "BEFORE INSERT ON templates", "IF NEW.content ~ 'drop' THEN RETURN NULL; END IF; RETURN NEW;"),
        "removes after": _trigger("t", "AFTER INSERT ON templates", "IF NEW.content ~ 'drop' THEN DELETE FROM templates WHERE template_id = NEW.template_id; END IF; RETURN NULL;"),
        "changes after": _trigger("t", "AFTER INSERT ON templates", "UPDATE templates SET content = content || '!' WHERE template_id = NEW.template_id; RETURN NULL;"),
        "changes later": _trigger("t", "AFTER INSERT ON templates DEFERRABLE INITIALLY DEFERRED", "UPDATE templates SET content = content || '!' WHERE template_id = NEW.template_id; RETURN NULL;", more="CONSTRAINT"),
        "adds a row": _trigger("t", "AFTER INSERT ON templates", "IF pg_trigger_depth() < 2 THEN INSERT INTO templates VALUES (gen_random_uuid(), NEW.business_id, 'copy', 't', NEW.content); END IF; RETURN NULL;"),
        "touches stages": _trigger("t", "AFTER INSERT ON templates", "UPDATE stages SET stage_description = stage_description; RETURN NULL;"),
        "reads the old table": _trigger("t", "AFTER INSERT ON templates", "PERFORM 1 FROM prompt_templates LIMIT 1; RETURN NULL;"),
        "writes the old table": _trigger("t", "AFTER INSERT ON templates", "UPDATE prompt_templates SET description = description WHERE template_id = NEW.template_id::text; RETURN NULL;"),
        "keeps in step with the old table": _trigger("t", "AFTER INSERT OR UPDATE OR DELETE ON templates", "DELETE FROM prompt_templates WHERE template_id = 'nothing'; RETURN NULL;"),
        "logs": "CREATE TABLE log (at timestamptz DEFAULT now(), what text);" + _trigger("t", "AFTER INSERT OR UPDATE OR DELETE ON templates", "INSERT INTO log (what) VALUES (TG_OP); RETURN NULL;"),
        "logs what is not there": _trigger("t", "AFTER INSERT ON templates", "INSERT INTO log_of_old (what) VALUES (TG_OP); RETURN NULL;"),
        "uses a column that is gone": _trigger("t", "BEFORE INSERT ON templates", "NEW.gone := 1; RETURN NEW;"),
        "by an unqualified function": "CREATE FUNCTION public.shout(text) RETURNS text LANGUAGE sql AS $$ SELECT upper($1) $$;" + _trigger("t", "AFTER INSERT ON templates", "PERFORM shout(NEW.content); RETURN NULL;"),
        "needs a setting": _trigger("t", "BEFORE INSERT ON templates", "IF current_setting('app.tenant') = '' THEN RETURN NULL; END IF; RETURN NEW;"),
        "needs a setting, softly": _trigger("t", "BEFORE INSERT ON templates", "IF current_setting('app.tenant', true) IS NULL THEN RETURN NULL; END IF; RETURN NEW;"),
        "sets a setting": _trigger("t", "BEFORE INSERT ON templates", "PERFORM set_config('search_path', 'nowhere', false); RETURN NEW;"),
        "sets a time limit": _trigger("t", "AFTER INSERT ON templates", "SET statement_timeout = 1; RETURN NULL;"),
        "is slow": _trigger("t", "BEFORE INSERT ON templates", "PERFORM pg_sleep(0.05); RETURN NEW;"),
        "is a definer's": _trigger("t", "BEFORE INSERT ON templates", "IF current_user <> 'search_app' THEN RAISE EXCEPTION 'who'; END IF; RETURN NEW;", options="SECURITY DEFINER"),
        "warns": _trigger("t", "BEFORE INSERT ON templates", "RAISE WARNING '{canary}'; RETURN NEW;"),
        "notifies": _trigger("t", "AFTER INSERT ON templates", "PERFORM pg_notify('templates', left(NEW.template_id::text, 7000)); RETURN NULL;"),
        "notifies too much": _trigger("t", "AFTER INSERT ON templates", "PERFORM pg_notify('templates', repeat('x', 8000)); RETURN NULL;"),
        "makes a temporary table": _trigger("t", "AFTER INSERT ON templates", "CREATE TEMP TABLE IF NOT EXISTS scratch (n int) ON COMMIT DROP; RETURN NULL;"),
        "locks for itself": _trigger("t", "AFTER INSERT ON templates", "PERFORM pg_advisory_xact_lock(1); RETURN NULL;"),
        "by statement": _trigger("t", "AFTER INSERT ON templates", "RETURN NULL;", each="STATEMENT"),
        "by statement, with its rows": _function("t", "PERFORM count(*) FROM fresh; RETURN NULL;") + "CREATE TRIGGER t AFTER INSERT ON templates REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION t()",
        "is disabled": _trigger("t", "BEFORE INSERT ON templates", _raise("P0001") + ";") + "; ALTER TABLE templates DISABLE TRIGGER t",
        "is always": _trigger("t", "BEFORE INSERT ON templates", "NEW.updated_at := now(); RETURN NEW;") + "; ALTER TABLE templates ENABLE ALWAYS TRIGGER t",
        "is for replicas": _trigger("t", "BEFORE INSERT ON templates", "NEW.content := ''; RETURN NEW;") + "; ALTER TABLE templates ENABLE REPLICA TRIGGER t",
        "one text is refused": _trigger("t", "BEFORE INSERT ON templates", f"IF NEW.content ~ 'drop' THEN {_raise('P0001')}; END IF; RETURN NEW;"),
        "updated_at": _trigger("t", "BEFORE UPDATE ON templates", "NEW.updated_at := now(); RETURN NEW;"),
        "registers placeholders": "CREATE TABLE names (id bigserial, name text PRIMARY KEY);" + _trigger("t", "AFTER INSERT ON templates", "INSERT INTO names (name) SELECT DISTINCT m[1] FROM regexp_matches(NEW.content, '{([^{}]+)}', 'g') m ON CONFLICT DO NOTHING; RETURN NULL;"),
        "calls with a wrong type": _trigger("t", "BEFORE INSERT ON templates", "NEW.created_at := NEW.content; RETURN NEW;"),
        "divides by zero": _trigger("t", "BEFORE INSERT ON templates", "NEW.created_at := now() + make_interval(secs => 1 / (length(NEW.content) - length(NEW.content))); RETURN NEW;"),
    }  # fmt: skip
    for (table, event), (does, body) in product(
        (("templates", "DELETE"), ("templates", "UPDATE"), ("stages", "UPDATE"), ("prompt_templates", "DELETE"), ("prompt_templates", "UPDATE")),
        (("keeps", "RETURN NULL;"), ("refuses", _raise("P0001") + ";"), ("marks and keeps", "RETURN NULL;")),
    ):  # fmt: skip
        name = f"{table} {event.lower()} {does}"
        if does != "marks and keeps":
            found[name] = _trigger("d", f"BEFORE {event} ON {table}", body)
        elif event == "DELETE":
            found[name] = f"ALTER TABLE {table} ADD deleted_at timestamptz;" + _trigger(
                "d", f"BEFORE DELETE ON {table}",
                f"UPDATE {table} SET deleted_at = now() WHERE template_id = OLD.template_id; RETURN NULL;",
            )  # fmt: skip
    found |= {
        "stages change references": _trigger("s", "BEFORE UPDATE ON stages", f"NEW.{FIRST} := OLD.{FIRST}; RETURN NEW;"),
        "stages lose references": _trigger("s", "BEFORE UPDATE ON stages", f"NEW.{SECOND} := NULL; RETURN NEW;"),
        "stages change another column": _trigger("s", "BEFORE UPDATE ON stages", "NEW.stage_name := 'x'; RETURN NEW;"),
        "stages keep some": _trigger("s", "BEFORE UPDATE ON stages", "IF NEW.stage_id::text ~ '[02468]$' THEN RETURN NULL; END IF; RETURN NEW;"),
        "stages look references up": _trigger("s", "BEFORE UPDATE ON stages", f"IF NEW.{FIRST} IS NOT NULL AND NOT EXISTS (SELECT FROM prompt_templates WHERE template_id = NEW.{FIRST}::text) THEN {_raise('23503')}; END IF; RETURN NEW;"),
        "stages log": "CREATE TABLE stage_log (at timestamptz DEFAULT now());" + _trigger("s", "AFTER UPDATE ON stages", "INSERT INTO stage_log DEFAULT VALUES; RETURN NULL;"),
        "stages change after": _trigger("s", "AFTER UPDATE ON stages", f"IF pg_trigger_depth() < 2 THEN UPDATE stages SET {FIRST} = OLD.{FIRST} WHERE stage_id = NEW.stage_id; END IF; RETURN NULL;"),
        "stages refuse later": _trigger("s", "AFTER UPDATE ON stages DEFERRABLE INITIALLY DEFERRED", _raise("23514") + ";", more="CONSTRAINT"),
        "stages need a setting": _trigger("s", "BEFORE UPDATE ON stages", "PERFORM current_setting('app.user'); RETURN NEW;"),
        "old refuses truncation": _trigger("o", "BEFORE TRUNCATE ON prompt_templates", _raise("P0001") + ";", each="STATEMENT"),
        "old logs": "CREATE TABLE old_log (at timestamptz DEFAULT now());" + _trigger("o", "AFTER INSERT OR UPDATE OR DELETE ON prompt_templates", "INSERT INTO old_log DEFAULT VALUES; RETURN NULL;"),
        "old gives ids": _trigger("o", "BEFORE INSERT ON prompt_templates", "NEW.template_id := gen_random_uuid()::text; RETURN NEW;"),
        "old is upper case": _trigger("o", "BEFORE INSERT OR UPDATE ON prompt_templates", "NEW.template_text := upper(NEW.template_text); RETURN NEW;"),
    }  # fmt: skip
    for state in STATES:
        found[f"insert raises {state}"] = _trigger("t", "BEFORE INSERT ON templates", f"{_raise(state)}; RETURN NEW;")
        found[f"insert raises {state} at the end"] = _trigger(
            "t", "AFTER INSERT ON templates DEFERRABLE INITIALLY DEFERRED", f"{_raise(state)}; RETURN NULL;", more="CONSTRAINT",
        )  # fmt: skip
        found[f"stages raise {state}"] = _trigger("s", "AFTER UPDATE ON stages", f"{_raise(state)}; RETURN NULL;")
        found[f"delete raises {state}"] = _trigger("d", "BEFORE DELETE ON templates", f"{_raise(state)}; RETURN OLD;")
    return found


def _event_triggers() -> dict[str, str]:
    made = {}
    tags = ("ALTER TABLE", "CREATE TABLE", "CREATE SCHEMA", "CREATE TRIGGER", "CREATE FUNCTION", "DROP TABLE",
            "DROP SCHEMA", "DROP TRIGGER", "DROP FUNCTION", "CREATE INDEX")  # fmt: skip
    for at, tag in product(("ddl_command_start", "ddl_command_end"), tags):
        made[f"{at} {tag} refused"] = (
            "CREATE FUNCTION guard() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF {{mover}} THEN {_raise('42501')}; END IF; END $$;"
            f"CREATE EVENT TRIGGER guard ON {at} WHEN TAG IN ('{tag}') EXECUTE FUNCTION guard()"
        )
    made["sql_drop refused"] = (
        "CREATE FUNCTION guard() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF {{mover}} THEN {_raise('42501')}; END IF; END $$; CREATE EVENT TRIGGER guard ON sql_drop EXECUTE FUNCTION guard()"
    )
    made["ddl is logged"] = (
        "CREATE TABLE ddl (at timestamptz DEFAULT now(), tag text); GRANT INSERT ON ddl TO PUBLIC;"
        "CREATE FUNCTION guard() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ddl (tag) VALUES (tg_tag); END $$;"
        "CREATE EVENT TRIGGER guard ON ddl_command_end EXECUTE FUNCTION guard()"
    )
    made["owners are set"] = (
        "CREATE FUNCTION guard() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF {mover} AND tg_tag = 'CREATE TABLE' THEN RAISE NOTICE '{canary}'; PERFORM set_config('search_path', 'public', false); END IF; END $$;"
        "CREATE EVENT TRIGGER guard ON ddl_command_end EXECUTE FUNCTION guard()"
    )
    return made


DEPENDENTS = {
    "view of the old": "CREATE VIEW v AS SELECT * FROM prompt_templates",
    "view of the new": "CREATE VIEW v AS SELECT * FROM templates",
    "view of stages": "CREATE VIEW v AS SELECT * FROM stages",
    "materialized view of the new": "CREATE MATERIALIZED VIEW v AS SELECT count(*) FROM templates",
    "function that names the old": "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM prompt_templates $$",
    "function of the old row type": "CREATE FUNCTION f(prompt_templates) RETURNS text LANGUAGE sql AS $$ SELECT $1.template_text $$",
    "column of the old row type": "CREATE TABLE snapshots (was prompt_templates)",
    "function body that depends": "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM prompt_templates; END",
    "rule instead on new": "CREATE RULE r AS ON INSERT TO templates DO INSTEAD NOTHING",
    "rule also on new": "CREATE TABLE ruled (n int); CREATE RULE r AS ON INSERT TO templates DO ALSO INSERT INTO ruled VALUES (1)",
    "rule delete on new": "CREATE RULE r AS ON DELETE TO templates DO INSTEAD NOTHING",
    "rule on stages": "CREATE RULE r AS ON UPDATE TO stages DO INSTEAD NOTHING",
    "rule on old": "CREATE RULE r AS ON DELETE TO prompt_templates DO INSTEAD NOTHING",
    "publication of the old": "CREATE PUBLICATION p FOR TABLE prompt_templates",
    "publication of the new": "CREATE PUBLICATION p FOR TABLE templates WHERE (content <> '')",
    "publication of all": "CREATE PUBLICATION p FOR ALL TABLES",
    "publication of the schema": "CREATE PUBLICATION p FOR TABLES IN SCHEMA public",
    "child of the old": "CREATE TABLE child () INHERITS (prompt_templates); INSERT INTO child SELECT 'child ' || template_id, template_text FROM prompt_templates LIMIT 1",
    "child of the new": "CREATE TABLE child () INHERITS (templates)",
    "child of stages": "CREATE TABLE child () INHERITS (stages)",
    "policy on old": "ALTER TABLE prompt_templates ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON prompt_templates USING (false)",
    "policy on new": "ALTER TABLE templates ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON templates USING (false)",
    "forced policy on new": "ALTER TABLE templates ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON templates USING (true)",
    "forced policy on stages": "ALTER TABLE stages ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON stages USING (true)",
    "row security without policies": "ALTER TABLE stages ENABLE ROW LEVEL SECURITY",
    "schema pipelines of somebody": "CREATE SCHEMA pipelines; CREATE TABLE pipelines.run (n int)",
    "schema pipelines empty": "CREATE SCHEMA pipelines",
    "retired schema of somebody": "CREATE SCHEMA pipelines_retired_1",
    "sequence of the new": "CREATE SEQUENCE s; ALTER TABLE templates ADD nr bigint DEFAULT nextval('s'); ALTER SEQUENCE s OWNED BY NONE",
    "large object": "SELECT lo_create(4711)",
    "extended names": 'CREATE TABLE "prompt_templates " (n int); CREATE TABLE "Prompt_Templates" (n int)',
    "another one earlier on the path": "CREATE SCHEMA search_app; CREATE TABLE search_app.prompt_templates (LIKE public.prompt_templates)",
}  # fmt: skip

RIGHTS = {
    "no execute by default": "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    "no execute by default, of the owner": "ALTER DEFAULT PRIVILEGES FOR ROLE search_app REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    "default grants": "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; ALTER DEFAULT PRIVILEGES FOR ROLE search_app GRANT ALL ON TABLES TO PUBLIC",
    "no insert on new": "REVOKE INSERT ON templates FROM search_app",
    "no delete on new": "REVOKE DELETE ON templates FROM search_app",
    "no select on businesses": "REVOKE SELECT ON businesses FROM search_app",
    "no update on stages": "REVOKE UPDATE ON stages FROM search_app",
    "new is somebody else's": "ALTER TABLE templates OWNER TO postgres; GRANT SELECT, INSERT, UPDATE, DELETE ON templates TO search_app",
    "stages are somebody else's": "ALTER TABLE stages OWNER TO postgres; GRANT SELECT, UPDATE ON stages TO search_app",
    "old is somebody else's": "ALTER TABLE prompt_templates OWNER TO postgres; GRANT ALL ON prompt_templates TO search_app",
    "no create on the schema": "REVOKE CREATE ON SCHEMA public FROM search_app, search_mover; ALTER SCHEMA public OWNER TO postgres",
    "no temporary tables": "DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$",
    "no usage of the language": "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
    "no reading of the catalog": "REVOKE SELECT ON pg_catalog.pg_stat_activity FROM PUBLIC",
    "no pg_settings": "REVOKE SELECT ON pg_catalog.pg_settings FROM PUBLIC",
    "no sizes": "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_relation_size(regclass, text) FROM PUBLIC",
    "no snapshots": "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_export_snapshot() FROM PUBLIC",
}  # fmt: skip


def _trojans() -> dict[str, str]:
    """Somebody's functions and operators with the names of the system's. What they were called as is written down."""
    noted = (
        "CREATE TABLE caught (who text, what text); GRANT ALL ON caught TO PUBLIC;"
        "CREATE FUNCTION note(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
        " IF {mover} THEN INSERT INTO public.caught VALUES (current_user, $1); END IF; END $$;"
    )
    functions = {
        "=(varchar, varchar)": ("varchar, varchar", "boolean", "pg_catalog.textne($1, '\\x')", "="),
        "=(text, text)": ("text, text", "boolean", "pg_catalog.texteq($1, $2)", "="),
        "=(uuid, varchar)": ("uuid, varchar", "boolean", "pg_catalog.texteq(pg_catalog.uuid_out($1)::text, $2)", "="),
        "||(varchar, text)": ("varchar, text", "text", "pg_catalog.textcat($1, $2)", "||"),
        "<>(varchar, varchar)": ("varchar, varchar", "boolean", "pg_catalog.textne($1, $2)", "<>"),
        "~(varchar, text)": ("varchar, text", "boolean", "pg_catalog.textregexeq($1, $2)", "~"),
        "convert_to(text, text)": ("text, text", "bytea", "pg_catalog.convert_to($1, $2::name)", ""),
        "length(varchar)": ("varchar", "int", "pg_catalog.length($1::text)", ""),
        "lower(varchar)": ("varchar", "text", "pg_catalog.lower($1::text)", ""),
        "coalesce_(varchar)": ("varchar", "text", "$1::text", ""),
        "format(text, text)": ("text, text", "text", "pg_catalog.format($1, VARIADIC ARRAY[$2])", ""),
        "quote_ident(name)": ("name", "text", "pg_catalog.quote_ident($1::text)", ""),
        "md5(varchar)": ("varchar", "text", "pg_catalog.md5($1::text)", ""),
        "count_(varchar)": ("varchar", "bigint", "1::bigint", ""),
    }
    made = {}
    for name, (types, gives, body, operator) in functions.items():
        plain = "trojan" if operator else name.partition("(")[0]
        made[name] = noted + (
            f"CREATE FUNCTION public.{plain}({types}) RETURNS {gives} LANGUAGE plpgsql AS $$ BEGIN"
            f" PERFORM public.note('{name}'); RETURN {body}; END $$;"
        )
        if operator:
            left, right = types.split(", ")
            made[name] += (
                f"CREATE OPERATOR public.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.trojan)"
            )
    made["cast varchar to uuid"] = noted + (
        "CREATE FUNCTION public.trojan(varchar) RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN PERFORM public.note('cast');"
        " RETURN pg_catalog.uuid_in($1::cstring); END $$; CREATE CAST (varchar AS uuid) WITH FUNCTION public.trojan(varchar) AS IMPLICIT"
    )
    return made


def _catalogue() -> tuple[Feature, ...]:
    kinds = {
        "column": _columns(), "constraint": CONSTRAINTS, "index": INDEXES, "trigger": _triggers(),
        "event trigger": _event_triggers(), "dependent": DEPENDENTS, "right": RIGHTS, "trojan": _trojans(),
    }  # fmt: skip
    return tuple(Feature(kind, name, sql) for kind, named in kinds.items() for name, sql in named.items())


FEATURES = _catalogue()
