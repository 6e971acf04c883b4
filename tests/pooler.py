"""The real PgBouncer, where one is installed, between the tests and a server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg2
import pytest


@contextmanager
def pgbouncer(url: str, **settings: str) -> Iterator[str]:
    """The URL of the same database through PgBouncer. settings: of its file, such as pool_mode."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("no PgBouncer is installed on this machine")
    sockets, name = Path(parse_qs(urlsplit(url).query)["host"][0]), urlsplit(url).path.strip("/")
    with tempfile.TemporaryDirectory(prefix="table-move-pooler-") as place, closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        users, file = Path(place) / "users.txt", Path(place) / "pgbouncer.ini"
        users.write_text('"postgres" ""\n"mover" ""\n')
        own = {
            "listen_addr": "127.0.0.1", "listen_port": str(port), "unix_socket_dir": "", "auth_type": "trust",
            "auth_file": str(users), "pool_mode": "session", "default_pool_size": "30", **settings,
        }  # fmt: skip
        lines = "\n".join(f"{key} = {value}" for key, value in own.items())
        file.write_text(f"[databases]\n* = host={sockets}\n[pgbouncer]\n{lines}\n")
        as_user = []
        if os.geteuid() == 0:  # as which it refuses to run
            for path in (Path(place), users, file):
                shutil.chown(path, user=sockets.owner())
            as_user = ["runuser", "-u", sockets.owner(), "--"]
        with (Path(place) / "log").open("w") as log:
            process = subprocess.Popen([*as_user, program, str(file)], stdout=log, stderr=log)
            try:
                through = f"postgresql://postgres@127.0.0.1:{port}/{name}"
                _wait_for(through, process)
                yield through
            finally:
                process.terminate()
                process.wait(timeout=20)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 20
    while True:
        try:
            psycopg2.connect(url).close()
            return
        except psycopg2.OperationalError:
            assert process.poll() is None, "PgBouncer did not start"
            assert time.monotonic() < ends
            time.sleep(0.05)
