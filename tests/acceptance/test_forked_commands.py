"""Commands of the tests are forked from a process that has imported everything: they answer as those of a shell do."""

from __future__ import annotations

import re

import pytest

from tests.application import Application
from tests.command import Answer, call

CALLS = (
    ("pipelines.templates", ("--help",)),
    ("pipelines.templates", ("run", "--grace", "soon")),
    ("pipelines.templates", ("nonsense",)),
    ("pipelines.templates", ("plan",)),
    ("pipelines.templates", ("plan", "--json")),
    ("pipelines.templates", ("run", "--until", "verify", "--default-business", "Business 1", "--json")),
    ("pipelines.default_templates", ("plan",)),
    ("pipelines.migrations", ("status",)),
)


OF_THE_CALL = ("run_id", "report", "timings", "started_at")


def told(answer: Answer) -> tuple[int, object, str]:
    """What does not differ from call to call: times do."""
    err = re.sub(r"\d[\d.,]*( m?s\b| rows/s)|run-\d+", "N", answer.err)
    if not answer.out.startswith("{"):
        return answer.code, answer.out, err
    return answer.code, {name: value for name, value in answer.json.items() if name not in OF_THE_CALL}, err


@pytest.mark.parametrize(
    ("module", "arguments"), CALLS, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_forked_command_answers_as_one_that_is_started_anew(
    application: Application, tmp_path, module: str, arguments: tuple[str, ...]
) -> None:
    application.template("x")
    application.business(1)
    settings = {"DATABASE_URL": application.url, "PIPELINES_REPORT_DIR": str(tmp_path)}
    forked = call(*arguments, module=module, **settings)
    if "run" in arguments and forked.code == 0:
        application.execute("DROP SCHEMA pipelines CASCADE; TRUNCATE templates")
    assert told(forked) == told(call(*arguments, module=module, anew=True, **settings))
