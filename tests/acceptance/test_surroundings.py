"""Client and server in odd surroundings: what the role, the database and the environment are set to makes no difference."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.application import Application
from tests.command import ROOT, environment, run
from tests.oracle import violations

DEFAULT = "Northwind Support"
ODD = {
    "search_path": "'evil'",
    "DateStyle": "'German, DMY'",
    "TimeZone": "'Asia/Kathmandu'",
    "IntervalStyle": "'sql_standard'",
    "bytea_output": "'escape'",
    "standard_conforming_strings": "off",
    "client_encoding": "'LATIN1'",
    "default_transaction_isolation": "'serializable'",
    "default_transaction_deferrable": "on",
    "statement_timeout": "'30ms'",
    "lock_timeout": "'1ms'",
    "idle_in_transaction_session_timeout": "'20ms'",
    "idle_session_timeout": "'200ms'",
    "extra_float_digits": "-15",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "work_mem": "'64kB'",
    "enable_hashjoin": "off",
    "client_min_messages": "'debug5'",
}
ENVIRONMENT = {
    "TZ": "Pacific/Chatham",
    "LC_ALL": "C",
    "LANG": "tr_TR.UTF-8",
    "PGCLIENTENCODING": "LATIN1",
    "PGTZ": "Asia/Kathmandu",
    "PGDATESTYLE": "German",
    "PGOPTIONS": "-c search_path=evil -c standard_conforming_strings=off",
    "COLUMNS": "20",
    "PYTHONUTF8": "0",
    "PYTHONIOENCODING": "ascii:backslashreplace",
}


def test_settings_of_role_database_and_environment_make_no_difference(
    demonstration: Application, tmp_path: Path
) -> None:
    default = demonstration.value("SELECT business_id FROM businesses WHERE business_name = %s", (DEFAULT,))
    demonstration.snapshot()
    demonstration.execute(
        "CREATE SCHEMA evil;"
        "CREATE FUNCTION evil.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT ''evil''::bytea';"
        "CREATE FUNCTION evil.count(text) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'"
    )
    name = demonstration.value("SELECT current_database()")
    newer = {"transaction_timeout": "'300ms'"}
    if demonstration.value("SELECT current_setting('server_version_num')::int") < 170000:
        newer = {}
    for setting, value in {**ODD, **newer}.items():
        demonstration.execute(f"ALTER DATABASE {name} SET {setting} = {value}")

    answer = run(demonstration.url, tmp_path, "--default-business", DEFAULT, **ENVIRONMENT)

    assert answer.code == 0, answer.err
    assert violations(demonstration, default) == {}


def test_texts_of_many_megabytes_go_one_by_one(application: Application, tmp_path: Path) -> None:
    """Peak memory does not grow with the number of large texts."""
    application.business(1)
    peaks = []
    for count in (4, 12):
        for number in range(count):
            application.execute(
                "INSERT INTO prompt_templates (template_id, template_text) SELECT %s, repeat(md5(%s), 32768 * 24)",
                (f"{count}/{number}", str(number)),
            )
        # In two commands: the copy, and what imports the checks. Whether they meet depends on how busy the cores are.
        peaks.append((peak_of_a_run(application, tmp_path, "--until", "copy"), peak_of_a_run(application, tmp_path)))
        assert (
            application.value("SELECT count(*) FROM templates WHERE octet_length(content) = 24 * 1024 * 1024") == count
        )
        application.execute(
            "DROP SCHEMA pipelines CASCADE; DROP SCHEMA pipelines_retired_2 CASCADE; TRUNCATE templates CASCADE;"
            "CREATE TABLE prompt_templates (template_id varchar(255) PRIMARY KEY, template_text text NOT NULL,"
            " description text, variables text[] NOT NULL DEFAULT '{}', template_name varchar(255),"
            " template_type varchar(50))"
        )
    for few, many in zip(*peaks, strict=True):
        assert many < 1.25 * few, peaks


def peak_of_a_run(application: Application, folder: Path, *options: str) -> int:
    """Peak resident memory of a run, in kB, from a process that has no other child."""
    probe = (
        "import json, resource, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'pipelines.templates', 'run', '--grace', '0s', '--report-dir',"
        " sys.argv[1], '--max-write-pause', '5min', *sys.argv[2:]], stdout=subprocess.DEVNULL)\n"
        "print(json.dumps([done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, str(folder), *options],
        cwd=ROOT,
        env=environment(DATABASE_URL=application.url),
        capture_output=True,
        text=True,
        check=True,
    )
    code, peak = json.loads(done.stdout)
    assert code == 0, done.stderr
    return peak
