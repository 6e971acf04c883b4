-- The rights that the verbs need, as grants to a role `mover`. Nothing here needs a superuser.
-- Run as the owner of the application's tables; replace `mover`, the database name and the schema where they differ.

-- plan, status, verify, report: read.
GRANT USAGE ON SCHEMA public TO mover;
GRANT SELECT ON prompt_templates, templates, businesses, stages TO mover;

-- run: fill the new table, rewire the references (LOCK TABLE … SHARE ROW EXCLUSIVE is covered by UPDATE).
GRANT INSERT, UPDATE, DELETE ON templates TO mover;
GRANT UPDATE ON stages TO mover;

-- run: the journal and the retired table need a schema each.
DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO mover', current_database()); END $$;

-- run: freezing and retiring the old table is for its owner. Going back needs CREATE on the schema it returns to.
-- If foreign keys point to the old table, dropping and restoring them is for the owner of the referencing table.
-- Where the application itself is the owner, make mover a member of that role instead: GRANT application TO mover.
GRANT CREATE ON SCHEMA public TO mover;
ALTER TABLE prompt_templates OWNER TO mover;

-- rollback: what run needs; edits and deletions go into the old table, which mover owns. Foreign keys that left come back,
-- which is for the owner of the referencing table. purge: the ownership of the old table; rollback --archive makes it anew.
-- Where the owner, a role in its grants, or a schema of its types is another one, mover has to be a member of that role.

-- Where a default of the new table asks a sequence: GRANT USAGE ON SEQUENCE … TO mover. Where row security is on, the
-- role must own the table or have BYPASSRLS; nothing is moved by a role that might not see every row.

-- Numbered migrations: every one needs CREATE on the database (the schemas pipelines_migrations and, in 04, audit), 01 what
-- `run` needs, and 02 to 05 the ownership of stages and templates (03 also CREATE on their schema; 05 TEMPORARY on the
-- database). 04 makes the role audit_reader where it may (CREATEROLE), else says what to do.
