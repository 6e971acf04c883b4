"""One installation is tried: looked at, moved, judged, taken back, compared. What is wrong is a find."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from tests.application import Application
from tests.command import ROOT, Answer, environment
from tests.fork_server import ForkServer
from tests.oracle import violations
from tests.postgres_tools import schema_dump
from tests.search import judge
from tests.search.features import PLACES
from tests.search.installation import CANARY, LOGIN, SUPER, Installation, business, fill

SQL_01 = ROOT / "sql" / "01_cleanup_template_tables.sql"
PASSES = {0, 3, 4, 6}
SAME = {
    "templates": "SELECT template_id::text, business_id::text, template_name::text, template_type::text, content::text FROM public.templates",
    "stages": f"SELECT stage_id::text, {', '.join(f'{place}::text' for place in PLACES)} FROM public.stages s",
    "map": "SELECT source_id::text, owner_id::text, target_id::text FROM pipelines.id_map",
}


@dataclass(frozen=True)
class Find:
    """what: the kind, by which finds are told apart. seen: the rest, for people."""

    what: str
    seen: str = ""


@dataclass
class Laboratory:
    """A server and a process that forks the commands."""

    server: str
    commands: ForkServer
    folder: Path
    numbers: Iterator[int]
    counts: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def database(self) -> Iterator[str]:
        name = f"search_{next(self.numbers)}"
        with Application(self.server) as maintenance:
            maintenance.execute(f"CREATE DATABASE {name}")
            try:
                yield self.server.replace("/postgres?", f"/{name}?")
            finally:
                maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def call(self, url: str, *arguments: str, module: str = "pipelines.templates", fault: Any = None) -> Answer:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            child = self.commands.start(
                module, arguments, out=out, err=err, environment=environment(DATABASE_URL=url),
                fault=fault and {"log": str(Path(folder) / "points"), "fault": fault},
            )  # fmt: skip
            code = child.wait()
            self.counts[f"{arguments[0]}: exit {code}"] += 1
            return Answer(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


def try_out(laboratory: Laboratory, installation: Installation) -> list[Find]:
    """Everything that is wrong with what the pipeline does to this installation."""
    with laboratory.database() as url, Application(url) as application:
        try:
            made = fill(application, installation)
        except psycopg2.Error:
            laboratory.counts["could not be made"] += 1
            return []
        if len(made) < len(installation.features):
            laboratory.counts["features that this server has not"] += len(installation.features) - len(made)
        _disarm(application)
        trial = _Trial(laboratory, installation, application)
        trial.move()
    if trial.moved and trial.comparable():
        with laboratory.database() as other:
            with Application(other) as application:
                fill(application, installation)
            trial.compare_with_01(other)
    return trial.finds


def _disarm(application: Application) -> None:
    """What is for the mover's sessions leaves the test's own alone."""
    application.execute(
        "SET event_triggers = off" if application.value("SHOW server_version_num") >= "170000" else "SELECT"
    )


class _Trial:
    def __init__(self, laboratory: Laboratory, installation: Installation, application: Application) -> None:
        self.finds: list[Find] = []
        self.moved = False
        self._laboratory, self._installation, self._application = laboratory, installation, application
        role = SUPER if installation.superuser else LOGIN
        self.url = application.url.replace("postgres:@", f"{role}@")
        self._reports = Path(tempfile.mkdtemp(dir=laboratory.folder))

    def comparable(self) -> bool:
        return not self._installation.settings and "event trigger" not in {f.kind for f in self._installation.features}

    def move(self) -> None:
        self._application.execute("CREATE SCHEMA before")
        for table in ("prompt_templates", "templates", "stages"):
            self._application.execute(f"CREATE TABLE before.{table} AS SELECT * FROM public.{table}")
        rows, schema = judge.rows(self._application), schema_dump(self._application)
        plan = self._call("plan")
        self._allowed(plan, {0, 3, 4}, "plan")
        if judge.rows(self._application) != rows or self._application.exists("pipelines.move"):
            self._find("plan wrote something")
        run = self._call("run")
        self._allowed(run, PASSES | {8}, "run")
        if (plan.code, run.code) in ((3, 0), (4, 0)):
            self._find(f"plan says {plan.code}, run says 0", _codes(plan))
        if run.code == 3 and plan.code == 3 and judge.rows(self._application) != rows:
            self._find("a blocked run wrote something")
        if run.code == 0:
            self._judge()
        self._no_canary()
        if run.code in (0, 4, 6, 8) or judge.rows(self._application) != rows:
            self._go_back(rows, schema, run.code)
        if self._application.exists("public.caught") and self._application.value("SELECT count(*) FROM public.caught"):
            self._find(
                "somebody's code ran as the mover", str(self._application.rows("SELECT DISTINCT * FROM public.caught"))
            )

    def compare_with_01(self, other: str) -> None:
        """The pipeline's own answer has been kept by `_judge`."""
        with Application(
            other.replace("postgres:@", f"{LOGIN if not self._installation.superuser else SUPER}@")
        ) as application:
            try:
                application.execute("SELECT set_config('pipelines.default_business', %s, false)", (business(1),))
                if "--allow-dangling" in self._installation.arguments:
                    application.execute("SET pipelines.allow_dangling = on")
                application.execute(SQL_01.read_text(encoding="utf-8"))
            except psycopg2.Error as problem:
                self._laboratory.counts["01 refuses what the pipeline moves"] += 1
                self._laboratory.counts[f"01 refuses: {problem.pgcode}"] += 1
                return
        with Application(other) as application:
            for what, statement in SAME.items():
                if (found := sorted(application.rows(statement))) != self._kept[what]:
                    differ = set(found) ^ set(self._kept[what])
                    self._find(f"01 and the pipeline differ: {what}", str(sorted(differ)[:2]))

    def _judge(self) -> None:
        self.moved = True
        try:
            for question, count in judge.moved(self._application).items():
                self._find(f"run says 0: {question}", str(count))
            if (
                not self._installation.there
                and not self._installation.features
                and self._installation.generation == "A"
            ):
                for question, count in violations(self._application, business(1)).items():
                    self._find(f"run says 0: {question}", str(count))
            self._kept = {what: sorted(self._application.rows(statement)) for what, statement in SAME.items()}
        except psycopg2.Error as problem:  # a column that the questions need is gone
            self.moved = False
            self._laboratory.counts["not to be judged"] += 1
            self._laboratory.counts[f"not to be judged: {str(problem).splitlines()[0]}"] += 1

    def _go_back(self, rows: dict[str, list[str]], schema: str, after: int) -> None:
        back = self._call("rollback")
        self._allowed(back, {0, 3, 6}, f"rollback after run {after}")
        if back.code == 3 and after == 0 and not self._meddles():
            self._find("rollback refuses right after run 0", _first(back))
        if back.code == 3:
            again = self._call("rollback", "--accept-loss")
            self._allowed(again, {0, 3, 6}, f"rollback --accept-loss after run {after}")
        elif back.code == 0:
            now = judge.rows(self._application)
            for table, before in rows.items():
                if now.get(table) != before:
                    differ = set(now.get(table, [])) ^ set(before)
                    self._find(f"rollback says 0: {table} differs", str(sorted(differ)[:2]))
            if (dump := schema_dump(self._application)) != schema:
                self._find(
                    "rollback says 0: the schema differs",
                    str(sorted(set(dump.splitlines()) ^ set(schema.splitlines()))[:6]),
                )
        self._no_canary()

    def _meddles(self) -> bool:
        return any(feature.kind in ("trigger", "event trigger", "dependent") for feature in self._installation.features)

    def _call(self, verb: str, *more: str) -> Answer:
        arguments = [*self._installation.arguments, "--json"] if verb in ("plan", "run") else ["--json"]
        if verb == "plan":
            arguments = [one for one in arguments if one not in ("--workers", "--batch-bytes", "1", "1kB")]
        if verb != "plan":
            arguments += ["--report-dir", str(self._reports), "--lock-wait", "2s"]
        if verb == "run":
            arguments += ["--grace", "0s"]
        answer = self._laboratory.call(self.url, verb, *arguments, *more)
        if CANARY in answer.out + answer.err:
            self._find(f"{verb} shows row content or the server's words", _around(answer.out + answer.err))
        return answer

    def _allowed(self, answer: Answer, codes: set[int], what: str) -> None:
        if answer.code not in codes or "Traceback" in answer.err:
            self._find(f"{what}: exit {answer.code}{where(answer)}", _first(answer))

    def _no_canary(self) -> None:
        for path in self._reports.rglob("*"):
            if path.is_file() and CANARY.encode() in path.read_bytes():
                self._find(
                    f"{path.suffix} of the report shows row content or the server's words",
                    _around(path.read_text(errors="replace")),
                )
        if self._application.exists("pipelines.move"):
            for table in judge.journal_with(self._application, CANARY):
                self._find(f"{table} holds row content or the server's words")

    def _find(self, what: str, seen: str = "") -> None:
        if what not in {find.what for find in self.finds}:
            self.finds.append(Find(what, seen))


def where(answer: Answer) -> str:
    """The exception that stands in a trace and the last function of ours in it: one kind of mistake, one name."""
    traced = re.findall(r'pipelines/([\w/]+)\.py", line \d+, in (?!execute\b)(\w+)', answer.err)
    named = re.search(r"This is a bug \((\w+)", answer.err)
    place = f" in {traced[-1][0].rpartition('/')[2]}.{traced[-1][1]}" if traced else ""
    return f", {named[1]}{place}" if named else place


def _codes(answer: Answer) -> str:
    return str([blocker["code"] for blocker in answer.json.get("blockers", [])]) if answer.out else ""


def _first(answer: Answer) -> str:
    lines = [line for line in answer.err.splitlines() if line.strip()]
    return re.sub(r"\s+", " ", " | ".join(lines[-6:]))[-700:]


def _around(text: str) -> str:
    at = text.index(CANARY)
    return re.sub(r"\s+", " ", text[max(0, at - 160) : at + 40])
