"""Servers of every version: each verb in each state of a move, and the ones that are too old."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.templates import demo
from tests.application import Application
from tests.command import Answer, call, run_here


@pytest.fixture
def application(any_url: str) -> Iterator[Application]:
    with Application(any_url) as found:
        found.execute(demo.SCHEMA.read_text(encoding="utf-8"))
        business = found.business(1)
        found.template("a")
        found.stage(1, business, "a")
        yield found


def test_every_verb_answers_in_every_state_of_a_move(application: Application, tmp_path: Path) -> None:
    archive = ("--archive", str(tmp_path / "archive"))

    def verb(name: str, *more: str) -> Answer:
        grace = ("--grace", "0s") if name == "run" else ()
        return run_here(name, "--json", *grace, *more, DATABASE_URL=application.url, PIPELINES_REPORT_DIR=str(tmp_path))

    def all_answer(state: str) -> None:
        codes = {name: verb(name).code for name in ("plan", "status", "verify")}
        assert codes == {"plan": 0, "status": 0, "verify": 0}, state
        assert verb("status").json["state"] == state
        assert verb("rollback", "--dry-run", *(archive if state == "purged" else ())).code == 0, state
        if state != "not_started":
            assert verb("report").code == 0, state

    all_answer("not_started")
    for arguments, state in (
        (("run", "--until", "copy"), "stopped"),
        (("run", "--until", "verify"), "stopped"),
        (("run",), "done"),
        (("run",), "done"),
        (("rollback",), "rolled_back"),
        (("run",), "done"),
        (("purge", "--yes", *archive), "purged"),
        (("run",), "purged"),
        (("purge", "--yes", *archive), "purged"),
    ):
        answer = verb(*arguments)
        assert answer.code == 0, (arguments, answer.err)
        assert answer.json["state"] == state
        if state == "purged" and next((tmp_path / "archive").iterdir(), None):
            archive = ("--archive", str(next((tmp_path / "archive").iterdir())))
        all_answer(state)
    assert verb("rollback", *archive).code == 0
    assert application.rows("SELECT template_id FROM prompt_templates") == [("a",)]


@contextmanager
def old_server(version: str) -> Iterator[str]:
    """Something that lets everybody in, says which version it is, and understands nothing."""

    def message(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("!i", len(body) + 4) + body

    greeting = b"".join(
        (
            message(b"R", struct.pack("!i", 0)),
            message(b"S", b"server_version\0" + version.encode() + b"\0"),
            message(b"S", b"client_encoding\0UTF8\0"),
            message(b"S", b"standard_conforming_strings\0on\0"),
            message(b"S", b"DateStyle\0ISO, MDY\0"),
            message(b"K", struct.pack("!ii", 1, 1)),
            message(b"Z", b"I"),
        )
    )
    not_understood = message(b"E", b"SERROR\0C42601\0Msyntax error\0\0") + message(b"Z", b"I")

    def serve(client: socket.socket) -> None:
        with client:
            while said := client.recv(65536):
                if said[4:8] == struct.pack("!i", 80877103):
                    client.sendall(b"N")  # no TLS here
                elif said[:1] == b"\0":
                    client.sendall(greeting)
                elif said[:1] == b"Q":
                    client.sendall(not_understood)

    def accept() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"postgresql://somebody@127.0.0.1:{listening.getsockname()[1]}/old"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("version", ["14.18", "9.2.24", "8.0.2", "a thing of its own"])
def test_a_server_that_is_too_old_is_refused_by_every_verb(version: str, tmp_path: Path) -> None:
    with old_server(version) as url:
        for verb in ("plan", "run", "status", "verify", "report", "rollback", "purge"):
            answer = run_here(verb, "--json", DATABASE_URL=url, PIPELINES_REPORT_DIR=str(tmp_path))
            assert answer.code == 3, (verb, answer.err)
            assert "15 to 18 are supported" in answer.json["error"], verb
        for verb in ("up", "status") if version == "14.18" else ():
            answer = call(verb, "--json", module="pipelines.migrations", DATABASE_URL=url)
            assert answer.code == 3, (verb, answer.err)
