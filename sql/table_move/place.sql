-- name: may_know_the_system
-- Whether our role may ask which cluster this is; every role may, unless somebody has taken that away.
SELECT has_function_privilege('pg_control_system()', 'EXECUTE');

-- name: system
-- Which cluster this is: copies of its files say the same.
SELECT system_identifier::text FROM pg_control_system();

-- name: database_and_journal
-- Which database in it, and which journal: a dump that is restored has new numbers for one of them at least.
SELECT d.oid::text, coalesce(to_regclass('pipelines.move')::oid, 0)::text FROM pg_database d
WHERE d.datname = current_database();
