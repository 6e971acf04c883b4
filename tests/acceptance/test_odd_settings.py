"""Settings that a role or a database brings along decide neither what a statement means nor what a value looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.application import Application
from tests.command import call

HOSTILE = (
    "\\'; CREATE TABLE public.owned (); --",
    "\\",
    "\\\\' OR true --",
    "it''s {batch} %s %(x)s $$ :name",
    "\\x41",
    "E'\\n'",
)
# What may be switched on only where it is meant, or is no setting of a session.
LEFT = (
    "default_transaction_read_only", "transaction_read_only", "transaction_deferrable", "transaction_isolation",
    "is_superuser", "session_authorization", "role", "client_encoding",
    "ignore_system_indexes", "lc_messages",
)  # fmt: skip


@pytest.fixture
def arranged(application: Application) -> Application:
    """Hostile ids on every way: copied, for two owners, adopted, late, edited."""
    one, two = application.business(1), application.business(2)
    for number, key in enumerate(HOSTILE):
        application.template(key, f"text {number} {key}", description=key)
        application.stage(number, one, key)
        application.stage(100 + number, two if number % 2 else one, None, key)
    application.execute(
        "INSERT INTO templates SELECT gen_random_uuid(), %s, template_name, template_type, template_text"
        " FROM prompt_templates WHERE template_id = %s", (one, HOSTILE[2]),
    )  # fmt: skip
    return application


def settings(application: Application, **values: str) -> None:
    name = application.value("SELECT quote_ident(current_database())")
    for setting, value in values.items():
        application.execute(f"ALTER DATABASE {name} SET {setting} = %s", (value,))


def there_and_back(application: Application, folder: Path) -> None:
    """Copied, changed on both sides of the switch, and back: every text where it belongs."""
    where = {"DATABASE_URL": application.url, "PIPELINES_REPORT_DIR": str(folder)}

    def verb(*arguments: str) -> None:
        answer = call(*arguments, **where)
        assert answer.code == 0, (arguments, answer.err)
        assert not application.exists("public.owned"), arguments

    application.snapshot()
    verb("plan")
    verb("run", "--until", "verify")
    application.execute(
        "UPDATE prompt_templates SET template_text = 'changed ' || template_text WHERE template_id <> %s", (HOSTILE[2],)
    )
    application.execute("INSERT INTO prompt_templates (template_id, template_text) VALUES ('late \\', 'late \\')")
    verb("run", "--grace", "0s", "--default-business", "Business 1")
    expected = {(f"changed text {number} {key}",) for number, key in enumerate(HOSTILE) if number != 2}
    found = set(application.rows("SELECT DISTINCT content FROM templates"))
    assert found == {*expected, (f"text 2 {HOSTILE[2]}",), ("late \\",)}
    application.execute("UPDATE templates SET content = 'edited ' || content WHERE content LIKE 'changed%'")
    verb("rollback", "--accept-loss")
    back = dict(application.rows("SELECT template_id, template_text FROM prompt_templates"))
    assert back == {
        **{key: f"edited changed text {number} {key}" for number, key in enumerate(HOSTILE) if number != 2},
        HOSTILE[2]: f"text 2 {HOSTILE[2]}",
        "late \\": "late \\",
    }


def test_no_datum_becomes_sql_where_a_backslash_escapes(arranged: Application, tmp_path: Path) -> None:
    settings(arranged, standard_conforming_strings="off", backslash_quote="on", escape_string_warning="on")
    there_and_back(arranged, tmp_path)


def odd(application: Application) -> dict[str, str]:
    """Another value for whatever a user may set: the other one of two, the last of several, the smallest number."""
    found = {}
    for name, kind, value, choices, smallest, unit in application.rows(
        "SELECT name, vartype, setting, enumvals, min_val, unit FROM pg_settings WHERE context = 'user'"
        " AND name <> ALL (%s)", (list(LEFT),)
    ):  # fmt: skip
        if kind == "bool":
            found[name] = "off" if value == "on" else "on"
        elif kind == "enum":
            found[name] = next((choice for choice in reversed(choices) if choice != value), value)
        elif kind in ("integer", "real"):
            found[name] = "1000" if name.endswith("_timeout") and unit == "ms" else smallest
    more = {
        "search_path": "public", "DateStyle": "German, DMY", "TimeZone": "Asia/Kathmandu", "lc_monetary": "C.UTF-8",
        "default_text_search_config": "pg_catalog.french", "plpgsql.extra_errors": "all",
    }  # fmt: skip
    return {**found, **more}


def test_whatever_a_user_may_set_the_move_is_the_same(arranged: Application, tmp_path: Path) -> None:
    turned = odd(arranged)
    assert len(turned) > 100
    settings(arranged, **turned)
    there_and_back(arranged, tmp_path)
