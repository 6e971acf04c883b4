"""What a database looks like when nothing is under way: compared between a disturbed move and an undisturbed one.

Plain SQL that shares no code with the pipeline. What differs from attempt to attempt by nature (numbers of runs, times)
is left out, and only that.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from tests.application import Application

ROWS = {
    "templates": "SELECT template_id, business_id, template_name, template_type, content, system_prompt FROM templates",
    "stages": "SELECT * FROM stages",
    "businesses": "SELECT * FROM businesses",
    "old table": "SELECT * FROM {old}",
    "place of the old table": "SELECT regexp_replace('{old}', '_[0-9]+', '_N')",
    "map": "SELECT move, source_id, owner_id, target_id, disposition, owner_rule, loaded, kept_target, source_hash::text,"
    " target_hash::text FROM pipelines.id_map",
    "rejected": "SELECT move, source_id, owner_id, owner_rule, reason, detail FROM pipelines.rejected",
    "changed references": "SELECT move, table_name, row_key, column_name, old_value, new_value"
    " FROM pipelines.reference_change",
    "released keys": "SELECT move, table_name, constraint_name, definition, comment, validated FROM pipelines.foreign_key",
    "milestone": "SELECT move, source_oid = to_regclass('{old}')::oid, milestone FROM pipelines.move",
    "newest attempt": "SELECT state FROM pipelines.run ORDER BY run_id DESC LIMIT 1",
    "constraints": "SELECT (SELECT relname FROM pg_class c WHERE c.oid = conrelid), conname, pg_get_constraintdef(oid), convalidated,"
    " obj_description(oid) FROM pg_constraint WHERE conrelid IN ('stages'::regclass, 'templates'::regclass, to_regclass('{old}'))",
    "triggers": "SELECT tgrelid::regclass::text ~ 'prompt_templates', tgname FROM pg_trigger WHERE NOT tgisinternal",
    "schemas": "SELECT regexp_replace(nspname, '_[0-9]+$', '_N') FROM pg_namespace WHERE nspname !~ '^pg_'",
}

RESIDUE = {
    "attempts that say they are running": "SELECT count(*) FROM pipelines.run WHERE state = 'running'",
    "sessions left behind": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'pipelines'",
    "advisory locks": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    "prepared transactions": "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()",
    "invalid indexes": "SELECT count(*) FROM pg_index WHERE NOT indisvalid",
    "temporary tables": "SELECT count(*) FROM pg_class WHERE relpersistence = 't'",
    "rows in working tables": "SELECT (SELECT count(*) FROM pipelines.claim) + (SELECT count(*) FROM pipelines.candidate)"
    " + (SELECT count(*) FROM pipelines.touched)",
}


def final_state(application: Application, names: Iterable[str] = tuple(ROWS)) -> dict[str, list[tuple[Any, ...]]]:
    """Rows by what they are, each in one order."""
    wanted = {name: ROWS[name] for name in names}
    place = application.rows(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = 'prompt_templates'"
    )
    old = place[0][0] if place else "pg_catalog.pg_largeobject"  # purged: an empty table in its place
    return {name: sorted(application.rows(text.replace("{old}", old)), key=repr) for name, text in wanted.items()}


def residue(application: Application, *, patience: float = 5) -> dict[str, int]:
    """What is left behind that should not be. A backend that has just lost its client gets a moment to go."""
    ends = time.monotonic() + patience
    while True:
        found = {name: count for name, text in RESIDUE.items() if (count := application.value(text))}
        if not found or time.monotonic() > ends:
            return found
        time.sleep(0.1)


def differences(
    found: dict[str, list[tuple[Any, ...]]], expected: dict[str, list[tuple[Any, ...]]]
) -> dict[str, tuple[list[Any], list[Any]]]:
    """By what: the rows that are too many, and those that are missing (at most three each)."""
    return {
        name: ([row for row in found[name] if row not in rows][:3], [row for row in rows if row not in found[name]][:3])
        for name, rows in expected.items()
        if found[name] != rows
    }
