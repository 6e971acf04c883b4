"""Traps of a lesser role in the application's schema: operators, functions and aggregates that fit better than those of
pg_catalog, or that come before them, and types and tables of their names. Whoever runs into one leaves a line in
`canary.caught`. Imports nothing of the pipeline."""

from __future__ import annotations

from tests.application import Application

# With the types of pg_catalog's own, where the application's schema comes first; with varchar and name for text, which fit
# columns of these types better wherever it comes at all.
PLANT = r"""
CREATE SCHEMA canary;
CREATE TABLE canary.caught (what text, by_whom text DEFAULT current_user, path text DEFAULT current_setting('search_path'));
GRANT USAGE ON SCHEMA canary TO PUBLIC;
GRANT INSERT ON canary.caught TO PUBLIC;
DO $$ BEGIN CREATE ROLE trapper; EXCEPTION WHEN duplicate_object THEN END $$;
GRANT CREATE, USAGE ON SCHEMA public TO trapper;
SET ROLE trapper;
SET search_path = pg_catalog;
DO $plant$
DECLARE
    known CONSTANT text[] := ARRAY['text', 'varchar', 'bpchar', 'name', '"char"', 'uuid', 'bytea', 'boolean', 'int', 'bigint', 'oid',
        'xid', 'tid', 'regclass', 'jsonb', 'timestamptz', 'interval', 'text[]', 'uuid[]', 'name[]', 'smallint[]', 'double precision',
        'numeric'];
    types CONSTANT regtype[] := known::regtype[];
    body  CONSTANT text := 'BEGIN INSERT INTO canary.caught (what) VALUES (%L); RETURN NULL; END';
    one   record;
    made  int := 0;
BEGIN
    FOR one IN
        SELECT DISTINCT p.proname, v.arguments::text AS arguments, p.prorettype::regtype::text AS result, p.proretset
        FROM pg_proc p CROSS JOIN LATERAL (
            SELECT oidvectortypes(p.proargtypes) AS arguments WHERE NOT EXISTS (
                SELECT FROM unnest(p.proargtypes) a WHERE a <> ALL (types))
            UNION ALL
            SELECT (SELECT string_agg(replace(format_type(a, NULL), 'text', o), ', ' ORDER BY place)
                    FROM unnest(p.proargtypes) WITH ORDINALITY x (a, place))
            FROM unnest(ARRAY['character varying', 'name']) o
            WHERE 'text'::regtype = ANY (p.proargtypes) AND NOT EXISTS (
                SELECT FROM unnest(p.proargtypes) a WHERE a <> ALL (types))
        ) v
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.prorettype = ANY (types)
          AND p.proname !~ '^(pg_lsn|RI_|array_in|array_out)' AND p.proname !~ '(in|out|recv|send)$' AND v.arguments IS NOT NULL
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s%s LANGUAGE plpgsql AS %L', one.proname, one.arguments,
                CASE WHEN one.proretset THEN 'SETOF ' ELSE '' END, one.result,
                CASE WHEN one.proretset THEN replace(format(body, one.proname), 'RETURN NULL; ', '') ELSE format(body, one.proname) END);
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN
        END;
    END LOOP;
    FOR one IN
        SELECT o.oprname, format_type(l, NULL) AS l, format_type(r, NULL) AS r, format_type(o.oprresult, NULL) AS result
        FROM pg_operator o
        CROSS JOIN LATERAL (SELECT o.oprleft UNION SELECT x FROM unnest(ARRAY['varchar', 'name']::regtype[]) x WHERE o.oprleft = 'text'::regtype) ls (l)
        CROSS JOIN LATERAL (SELECT o.oprright UNION SELECT x FROM unnest(ARRAY['varchar', 'name']::regtype[]) x WHERE o.oprright = 'text'::regtype) rs (r)
        WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft = ANY (types) AND o.oprright = ANY (types)
          AND o.oprresult = ANY (types)
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION public.%I(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L',
                           format('trap %s %s %s', one.l, one.oprname, one.r), one.l, one.r, one.result,
                           format(body, format('%s %s %s', one.l, one.oprname, one.r)));
            EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.%I)', one.oprname, one.l, one.r,
                           format('trap %s %s %s', one.l, one.oprname, one.r));
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN
        END;
    END LOOP;
    FOR one IN
        SELECT v.name, v.arguments FROM (VALUES
            ('format', 'text, text'), ('format', 'text, name'), ('format', 'text, text, text'), ('format', 'text, name, name'),
            ('format', 'text, bigint'), ('format', 'text, text, bigint'), ('format', 'text, bigint, text'), ('format', 'text, name, text'),
            ('concat_ws', 'text, text'), ('concat_ws', 'text, text, text'), ('array_position', 'text[], text'),
            ('nullif', 'text, text'), ('quote_literal', 'varchar')) v (name, arguments)
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS text LANGUAGE plpgsql AS %L', one.name, one.arguments, format(body, one.name));
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN
        END;
    END LOOP;
    CREATE FUNCTION public.trap_step(text, text) RETURNS text LANGUAGE plpgsql AS
        'BEGIN INSERT INTO canary.caught (what) VALUES (''an aggregate''); RETURN NULL; END';
    CREATE FUNCTION public.trap_step(text, uuid) RETURNS text LANGUAGE plpgsql AS
        'BEGIN INSERT INTO canary.caught (what) VALUES (''an aggregate''); RETURN NULL; END';
    CREATE AGGREGATE public.count(text) (SFUNC = public.trap_step, STYPE = text);
    CREATE AGGREGATE public.count(uuid) (SFUNC = public.trap_step, STYPE = text);
    CREATE AGGREGATE public.max(varchar) (SFUNC = public.trap_step, STYPE = text);
    CREATE AGGREGATE public.min(varchar) (SFUNC = public.trap_step, STYPE = text);
    CREATE AGGREGATE public.min(text) (SFUNC = public.trap_step, STYPE = text);
    CREATE AGGREGATE public.max(text) (SFUNC = public.trap_step, STYPE = text);
    CREATE AGGREGATE public.array_agg(text) (SFUNC = public.trap_step, STYPE = text);
    IF made < 1000 THEN
        RAISE EXCEPTION 'only % traps', made;
    END IF;
END
$plant$;
CREATE TYPE public.regclass AS ENUM ('trap');
CREATE TYPE public.uuid AS ENUM ('trap');
CREATE TYPE public.regtype AS ENUM ('trap');
CREATE TABLE public.pg_class (oid oid, relname name);
CREATE TABLE public.pg_attribute (attrelid oid, attname name);
CREATE TABLE public.pg_namespace (oid oid, nspname name);
RESET search_path;
RESET ROLE;
"""


def plant(application: Application) -> None:
    """In the schema public. After that the session of the tests names what it means with its schema."""
    application.execute(PLANT)
    application.execute("SET search_path = pg_catalog, pg_temp")


def caught(application: Application) -> list[tuple[str, str, str]]:
    """What, by whom, under which path."""
    return application.rows("SELECT DISTINCT what, by_whom, path FROM canary.caught ORDER BY 1, 2, 3")
