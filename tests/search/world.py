"""A database that lives: verbs, kills, edits, DDL, dump and restore, in any order; judged after each step by plain SQL.

The model is what the application wrote. In the old world a text belongs to an old row; after the switch every owner has
its own. Whether the switch has happened is read from the catalog, never from the pipeline. Each step can be taken in any
state (it does nothing where it makes no sense), so that any part of a sequence is a sequence.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2

from tests.application import Application
from tests.command import Answer, environment
from tests.search.features import PLACES
from tests.search.installation import APPLICATION, LOGIN, SUPER, Installation, Row, Stage, business, fill
from tests.search.trial import Find, Laboratory, where
from tests.servers import PROGRAMS

U1 = "00000001-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
START = Installation(
    rows=(*(Row(f"row {n}", f"text {n} {{name}}") for n in range(5)), Row(U1, "text of a canonical id")),
    stages=tuple(Stage(1 + n % 3, (n % 6, (n * 2) % 6, None)) for n in range(6)),
)
DOCUMENTED = {0, 3, 4, 5, 6, 8}
DDL = {
    "add a column to the old": "ALTER TABLE {old} ADD {name} text DEFAULT 'x'",
    "add a column to the new": "ALTER TABLE public.templates ADD {name} text",
    "add a column to stages": "ALTER TABLE public.stages ADD {name} text DEFAULT 'x'",
    "drop and add a column of the old": "ALTER TABLE {old} DROP variables, ADD variables text[] NOT NULL DEFAULT '{{}}'",
    "index the new": "CREATE INDEX {name} ON public.templates (template_name)",
    "index the old": "CREATE INDEX {name} ON {old} (template_name)",
    "index stages": "CREATE INDEX {name} ON public.stages (stage_name)",
    "rename an index": "ALTER INDEX idx_templates_business_id RENAME TO {name}",
    "rename a constraint": "ALTER TABLE {old} RENAME CONSTRAINT prompt_templates_pkey TO {name}",
    "a trigger on the new": "CREATE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    "CREATE TRIGGER {name} AFTER INSERT OR UPDATE ON public.templates FOR EACH ROW EXECUTE FUNCTION public.{name}()",
    "a trigger on stages": "CREATE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    "CREATE TRIGGER {name} AFTER UPDATE ON public.stages FOR EACH ROW EXECUTE FUNCTION public.{name}()",
    "a check on the new": "ALTER TABLE public.templates ADD CONSTRAINT {name} CHECK (content IS NOT NULL) NOT VALID",
    "widen the new name": "ALTER TABLE public.templates ALTER template_name TYPE varchar(300)",
    "rewrite the old": "ALTER TABLE {old} ALTER description TYPE varchar(5000)",
    "analyze": "ANALYZE",
    "a table of somebody": "CREATE TABLE public.{name} (n int)",
    "grants": "GRANT SELECT ON public.templates, {old} TO PUBLIC",
    "a comment": "COMMENT ON TABLE {old} IS '{name}'",
}  # fmt: skip


class Wrong(AssertionError):
    def __init__(self, find: Find) -> None:
        super().__init__(f"{find.what}: {find.seen}")
        self.find = find


class World:
    """Its methods without an underscore are the steps; `taken` is what was done."""

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory, self._stack = laboratory, ExitStack()
        self._folder = Path(tempfile.mkdtemp(dir=laboratory.folder))
        self._role, self._number, self._archives = LOGIN, 0, 0
        self.taken: list[tuple[str, tuple[Any, ...]]] = []
        self._open(self._stack.enter_context(laboratory.database()))
        fill(self._application, START)
        self._old = {row.key: self._application.value("SELECT template_text FROM prompt_templates WHERE template_id = %s", (row.key,)) for row in START.rows}  # fmt: skip
        self._new: dict[tuple[str, str], str] = {}
        self._references: dict[tuple[str, str], str | None] = {}
        self._unsure: set[str] = set()  # keys of which either text, or none, is right
        self._switched = False
        for stage, *values in self._stages():
            self._references |= {(stage, place): value for place, value in zip(PLACES, values, strict=True)}
        self._owners = dict(self._application.rows("SELECT stage_id, business_id::text FROM stages"))

    def close(self) -> None:
        self._application.__exit__()
        self._stack.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def take(self, name: str, *values: Any) -> None:
        """One step, and the judgement."""
        self.taken.append((name, values))
        self._laboratory.counts[f"step: {name}"] += 1
        try:
            getattr(self, name)(*values)
            self._judge(name)
        except psycopg2.Error as problem:  # the application was refused what it may do
            raise Wrong(Find(f"{name}: the application gets {problem.pgcode}", str(problem))) from problem

    # Verbs.

    def run(self, *, fault: dict[str, Any] | None = None) -> Answer:
        return self._verb("run", "--grace", "0s", "--default-business", "Business 1", fault=fault)

    def run_until(self, phase: str) -> None:
        self._verb("run", "--until", phase, "--default-business", "Business 1")

    def killed(self, verb: str, point: int, when: str) -> None:
        arguments = {
            "run": ("--grace", "0s", "--default-business", "Business 1"),
            "rollback": (),
            "purge": ("--archive", str(self._archive())),
        }
        self._verb(verb, *arguments[verb], fault={"point": point, "when": when, "action": "kill"})

    def rollback(self, accept_loss: bool) -> None:
        there = self._place
        answer = self._verb("rollback", *(["--accept-loss"] if accept_loss else []))
        if accept_loss and there and answer.code == 3 and "column_cannot_hold" not in answer.err:  # 05 goes down first
            raise Wrong(Find("rollback --accept-loss refuses", answer.err[-500:]))

    def rollback_dry(self) -> None:
        before = self._picture()
        self._verb("rollback", "--dry-run")
        if self._picture() != before:
            raise Wrong(Find("rollback --dry-run wrote something"))

    def purge(self) -> None:
        self._verb("purge", "--archive", str(self._archive()))

    def back_from_the_archive(self) -> None:
        if self._archives and (self._folder / f"archive {self._archives}").exists():
            self._verb("rollback", "--archive", str(self._folder / f"archive {self._archives}"), "--accept-loss")

    def look(self, verb: str) -> None:
        before = self._picture()
        self._verb(verb, *(["--default-business", "Business 1"] if verb == "plan" else []))
        if self._picture() != before:
            raise Wrong(Find(f"{verb} wrote something"))

    def migrations(self, verb: str, to: int) -> None:
        more = ["--default-business", "Business 1"] if verb == "up" else []
        self._verb(verb, "--to", str(max(to, 1) if verb == "up" else to), *more, module="pipelines.migrations")

    # What the application does.

    def edit_old(self, row: int) -> None:
        if not self._switched and (key := self._key(row)):
            self._number += 1
            text = f"edited {self._number} {{name}}"
            self._write(f"UPDATE {self._place} SET template_text = %s WHERE template_id = %s", (text, key))
            self._old[key] = text

    def add_old(self) -> None:
        if not self._switched:
            self._number += 1
            key = f"added {self._number}"
            self._write(
                f"INSERT INTO {self._place} (template_id, template_text, template_name) VALUES (%s, %s, 'n')",
                (key, key),
            )
            self._old[key] = key

    def delete_old(self, row: int) -> None:
        if not self._switched and (key := self._key(row)) and key not in self._references.values():
            self._write(f"DELETE FROM {self._place} WHERE template_id = %s", (key,))
            del self._old[key]

    def edit_new(self, row: int, owner: int) -> None:
        pair = (self._key(row), business(owner))
        if self._switched and pair in self._new and (target := self._target(*pair)):
            self._number += 1
            text = f"edited {self._number} {{name}}"
            self._write("UPDATE templates SET content = %s WHERE template_id = %s", (text, target))
            self._new[pair] = text

    def delete_new(self, row: int, owner: int) -> None:
        pair = (self._key(row), business(owner))
        if self._switched and pair in self._new and (target := self._target(*pair)):
            if any(key == pair[0] and self._owners[stage] == pair[1] for (stage, _), key in self._references.items()):
                return
            self._write("DELETE FROM templates WHERE template_id = %s", (target,))
            del self._new[pair]
            self._unsure.add(pair[0])

    def add_new(self, owner: int) -> None:
        self._number += 1
        self._write("INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
                    " VALUES (%s, %s, 'own', 't', %s)", (str(UUID(int=5000 + self._number)), business(owner), f"own {self._number}"))  # fmt: skip

    def add_stage(self, owner: int, row: int) -> None:
        if key := self._key(row):
            value = self._target(key, business(owner)) if self._switched else key
            if value:
                self._number += 1
                with suppress(psycopg2.Error):
                    stage = self._application.stage(100 + self._number, business(owner), value)
                    self._owners[stage] = business(owner)
                    self._references |= {(stage, place): None for place in PLACES}
                    self._references[stage, PLACES[0]] = key

    def point_elsewhere(self, stage: int, place: int, row: int) -> None:
        found = sorted(self._owners)[stage % len(self._owners)]
        if key := self._key(row):
            value = self._target(key, self._owners[found]) if self._switched else key
            if value and self._write(f"UPDATE stages SET {PLACES[place]} = %s WHERE stage_id = %s", (value, found)):
                self._references[found, PLACES[place]] = key

    def remove_stage(self, stage: int) -> None:
        found = sorted(self._owners)[stage % len(self._owners)]
        if len(self._owners) > 2 and self._write("DELETE FROM stages WHERE stage_id = %s", (found,)):
            del self._owners[found]
            self._references = {pair: key for pair, key in self._references.items() if pair[0] != found}

    def change_tables(self, what: str) -> None:
        if self._place:
            self._number += 1
            with suppress(psycopg2.Error):
                self._application.execute(
                    f"SET ROLE {APPLICATION}; " + DDL[what].format(old=self._place, name=f"x{self._number}")
                )
            self._application.execute("RESET ROLE")

    def another_role(self) -> None:
        self._role = SUPER if self._role == LOGIN else LOGIN

    def dump_and_restore(self) -> None:
        url = self._stack.enter_context(self._laboratory.database())
        programs = PROGRAMS[self._application.value("SELECT current_setting('server_version_num')::int / 10000")]
        dump = subprocess.run(
            [str(programs / "pg_dump"), self._application.url], capture_output=True, check=True, env=environment()
        )
        with Application(url) as fresh:
            fresh.execute("DROP SCHEMA public CASCADE" if b"CREATE SCHEMA public" in dump.stdout else "SELECT")
        done = subprocess.run([str(programs / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", url], input=dump.stdout, capture_output=True, check=False, env=environment())  # fmt: skip
        if done.returncode:
            raise Wrong(Find("a dump cannot be restored", done.stderr.decode()[-300:]))
        self._application.__exit__()
        self._open(url)
        name = self._application.value("SELECT current_database()")
        self._application.execute(f"GRANT CREATE, TEMPORARY ON DATABASE {name} TO {APPLICATION}")

    # The model and the judgement.

    def _open(self, url: str) -> None:
        self._application = Application(url)

    def _archive(self) -> Path:
        self._archives += 1
        return self._folder / f"archive {self._archives}"

    def _key(self, row: int) -> str | None:
        keys = sorted(set(self._old))
        return keys[row % len(keys)] if keys else None

    def _write(self, statement: str, values: tuple[Any, ...]) -> int:
        return self._application.execute(statement, values)

    def _target(self, key: str, owner: str) -> str | None:
        found = self._application.rows(
            "SELECT m.target_id::text FROM pipelines.id_map m JOIN templates t ON t.template_id = m.target_id"
            " WHERE source_id = %s AND owner_id::text = %s", (key, owner),
        )  # fmt: skip
        return found[0][0] if found else None

    @property
    def _place(self) -> str | None:
        found = self._application.rows(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relname = 'prompt_templates' AND c.relkind = 'r' ORDER BY n.nspname = 'public' DESC"
        )
        return found[0][0] if found else None

    def _frozen_or_away(self) -> bool:
        return self._place != "public.prompt_templates" or self._application.value(
            "SELECT EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE NOT tgisinternal"
            " AND tgrelid = 'public.prompt_templates'::regclass AND p.pronamespace = 'pipelines'::regnamespace)"
            if self._application.exists("pipelines.move")
            else "SELECT false"
        )

    def _stages(self) -> list[tuple[Any, ...]]:
        return self._application.rows(f"SELECT stage_id, {', '.join(f'{place}::text' for place in PLACES)} FROM stages")

    def _picture(self) -> dict[str, Any]:
        """What a verb that only looks leaves alone: but for the journal's lines about attempts and checks."""
        journal = ("pipelines.run", "pipelines.check_result", "pipelines.batch")
        return {name: places for name, places in self._application.places().items() if name not in journal}

    def _verb(self, verb: str, *arguments: str, fault: Any = None, module: str = "pipelines.templates") -> Answer:
        url = self._application.url.replace("postgres:@", f"{self._role}@")
        if verb in ("run", "verify", "rollback", "purge") and module == "pipelines.templates":
            arguments = (*arguments, "--report-dir", str(self._folder / "reports"))
        if verb not in ("plan", "verify", "status", "up", "down"):
            arguments = (*arguments, "--lock-wait", "3s")
        if verb in ("run", "rollback", "purge", "up", "down"):
            arguments = (*arguments, "--yes")
        answer = self._laboratory.call(url, verb, "--json", *arguments, module=module, fault=fault)
        killed = fault is not None and answer.code == -9
        if (answer.code not in DOCUMENTED and not killed) or "Traceback" in answer.err:
            raise Wrong(
                Find(f"{verb}: exit {answer.code}{where(answer)}", " | ".join(answer.err.split("\n")[-8:])[-700:])
            )
        self._settle(accepted="--accept-loss" in arguments)
        return answer

    def _settle(self, *, accepted: bool) -> None:
        """The model follows what the catalog says has happened."""
        now = self._frozen_or_away()
        if now and not self._switched:
            for key, owner in self._application.rows("SELECT source_id, owner_id::text FROM pipelines.id_map"):
                if key in self._old:
                    self._new[key, owner] = self._old[key]
            missing = set(self._old) - {key for key, _ in self._new}
            if missing:
                raise Wrong(Find("switched, and old rows have no owner in the map", str(sorted(missing))))
        if self._switched and not now:
            self._return(accepted=accepted)
        self._switched = now

    def _return(self, *, accepted: bool) -> None:
        primary = dict(
            self._application.rows("SELECT source_id, owner_id::text FROM pipelines.id_map WHERE owner_rule <> 'copy'")
        )
        for key, before in list(self._old.items()):
            texts = {owner: text for (other, owner), text in self._new.items() if other == key}
            edited = {owner for owner, text in texts.items() if text != before}
            there = self._application.rows(
                "SELECT template_text FROM public.prompt_templates WHERE template_id = %s", (key,)
            )
            if len(edited) > 1 or (edited and not primary) or key in self._unsure:
                self._unsure.add(key)
            elif edited:
                (owner,) = edited
                self._old[key] = texts[owner] if primary.get(key, owner) == owner else before
                if primary.get(key, owner) != owner and not accepted:
                    self._unsure.add(key)  # only one copy was edited: whether it may win, the documents do not say
            if not there and key not in self._unsure:
                raise Wrong(Find("a rollback lost an old row", key))
        gone = {
            key
            for key in self._old
            if not self._application.rows("SELECT FROM public.prompt_templates WHERE template_id = %s", (key,))
        }
        self._old = {key: text for key, text in self._old.items() if key not in gone}
        self._new = {}

    def _judge(self, step: str) -> None:
        self._settle(accepted=True)
        found = {stage: values for stage, *values in self._stages()}
        if set(found) != set(self._owners):
            raise Wrong(Find(f"after {step}: stages came or went", str(set(found) ^ set(self._owners))))
        for (stage, place), key in self._references.items():
            value = found[stage][PLACES.index(place)]
            if (value is None) != (key is None):
                raise Wrong(Find(f"after {step}: a reference came or went", f"{stage}.{place}: {key!r} is {value!r}"))
            if key is None or key in self._unsure:
                continue
            self._lead(step, stage, key, value)
        if not self._switched:
            texts = dict(self._application.rows("SELECT template_id, template_text FROM public.prompt_templates"))
            for key, text in self._old.items():
                if key not in self._unsure and texts.get(key) != text:
                    raise Wrong(
                        Find(
                            f"after {step}: an old row is not as the application wrote it",
                            f"{key}: {text!r} is {texts.get(key)!r}",
                        )
                    )
            return
        for (key, owner), text in self._new.items():
            texts = [one for (one,) in self._application.rows(
                "SELECT content FROM templates t JOIN pipelines.id_map m ON m.target_id = t.template_id"
                " WHERE m.source_id = %s AND m.owner_id::text = %s AND t.business_id = m.owner_id", (key, owner))]  # fmt: skip
            if texts != [text]:
                raise Wrong(
                    Find(
                        f"after {step}: a new row is not as the application wrote it",
                        f"{key} of {owner}: {text!r} is {texts!r}",
                    )
                )

    def _lead(self, step: str, stage: str, key: str, value: str) -> None:
        """A reference leads to the text that the application put there: in the old table, or in its business's own row."""
        if not self._switched:
            rows = self._application.rows(
                "SELECT template_text FROM public.prompt_templates WHERE template_id = %s", (value,)
            )
            wanted = self._old.get(key)
        else:
            rows = self._application.rows("SELECT content FROM templates WHERE template_id::text = %s AND business_id::text = %s",
                                          (value, self._owners[stage]))  # fmt: skip
            wanted = self._new.get((key, self._owners[stage]))
            if not rows and self._place:  # both worlds can be read until the confirmation has rewired late references
                rows = self._application.rows(
                    f"SELECT template_text FROM {self._place} WHERE template_id = %s", (value,)
                )
        if [(wanted,)] != rows:
            raise Wrong(
                Find(
                    f"after {step}: a reference does not lead to its text",
                    f"{stage}: {key!r} = {value!r}, {wanted!r} is {rows!r}",
                )
            )


STEPS: dict[str, Callable[..., Any]] = {name: step for name, step in vars(World).items() if not name.startswith("_")}


def replay(laboratory: Laboratory, steps: list[tuple[str, tuple[Any, ...]]]) -> Find | None:
    """Take these steps in a new world. What was wrong, if anything was."""
    world = World(laboratory)
    try:
        for name, values in steps:
            world.take(name, *values)
    except Wrong as wrong:
        return wrong.find
    finally:
        world.close()
    return None


def counted(counts: Counter[str], start: str) -> dict[str, int]:
    return {name.removeprefix(start): count for name, count in sorted(counts.items()) if name.startswith(start)}
