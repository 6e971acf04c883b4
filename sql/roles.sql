-- The rights that the verbs need, as grants to a role `mover`, which need not be a superuser.
-- Run as a superuser, or as the owner of the application's tables who may also grant its own role; replace `mover` and the
-- schema where they differ.

-- plan, status, verify, report: read.
GRANT USAGE ON SCHEMA public TO mover;
GRANT SELECT ON prompt_templates, templates, businesses, stages TO mover;

-- run: fill the new table, rewire the references (LOCK TABLE … SHARE ROW EXCLUSIVE is covered by UPDATE).
GRANT INSERT, UPDATE, DELETE ON templates TO mover;
GRANT UPDATE ON stages TO mover;

-- run: the journal and the retired table need a schema each.
DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO mover', current_database()); END $$;

-- run: freezing and retiring the old table is for its owner, so `mover` becomes a member of the role that owns it. The table
-- keeps its owner: whoever owned it goes on reading and writing it, before the move and after a rollback. (Giving the table
-- to `mover` would take it from the application.) Granting the membership is for who may grant the owner's role: a superuser,
-- or whoever has ADMIN OPTION on it. If foreign keys point to the old table, dropping and restoring them is for the owner of
-- the referencing table, in the same way.
DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'public.prompt_templates'::regclass);
BEGIN
    IF pg_has_role('mover', owner, 'USAGE') THEN
        RETURN;
    END IF;
    -- A role made NOINHERIT would be a member and have no right by it.
    IF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE format('GRANT %I TO mover WITH INHERIT TRUE', owner);
    ELSE
        EXECUTE format('GRANT %I TO mover', owner);
        IF NOT pg_has_role('mover', owner, 'USAGE') THEN
            ALTER ROLE mover INHERIT;
        END IF;
    END IF;
END $$;
-- Going back needs CREATE on the schema that the table returns to, for `mover`; after a purge for its owner as well.
GRANT CREATE ON SCHEMA public TO mover;
DO $$ BEGIN
    EXECUTE format('GRANT CREATE ON SCHEMA public TO %I',
                   (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'public.prompt_templates'::regclass));
END $$;

-- rollback: what run needs; edits and deletions go into the old table, with the rights of its owner. Foreign keys that left
-- come back, which is for the owner of the referencing table. purge: what run needs; rollback --archive makes the table anew
-- and gives it to its owner.
-- Where the owner, a role in its grants, or a schema of its types is another one, mover has to be a member of that role.

-- Where a default of the new table asks a sequence: GRANT USAGE ON SEQUENCE … TO mover. Where row security is on, the
-- role must own the table or have BYPASSRLS; nothing is moved by a role that might not see every row.

-- Numbered migrations: every one needs CREATE on the database (the schemas pipelines_migrations and, in 04, audit), 01 what
-- `run` needs, and 02 to 05 the ownership of stages and templates (03 also CREATE on their schema; 05 TEMPORARY on the
-- database). 04 makes the role audit_reader where it may (CREATEROLE), else says what to do.
