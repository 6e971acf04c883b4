"""Bad weather on the way to a server: a proxy on 127.0.0.1 that delays, cuts, swallows, resets and refuses.

It stands before the Unix socket of a server of the tests and listens nowhere else.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from psycopg2.extensions import parse_dsn


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What happens to bytes. It may change at any time, for connections that are open too.

    delay: seconds that every piece takes. cut_after: bytes from the server after which a connection is cut.
    swallow: bytes vanish, both ways, and the connections stay. reset: connections end with RST. refuse: no new ones.
    commit_of: a connection that has sent these bytes is cut at its next COMMIT; forwarded: behind it, else before it;
    swallowed: not cut, but from then on all bytes vanish.
    refuse_after_cut: seconds without new connections after such a cut.
    """

    delay: float = 0
    cut_after: int | None = None
    swallow: bool = False
    reset: bool = False
    refuse: bool = False
    commit_of: bytes | None = None
    forwarded: bool = False
    swallowed: bool = False
    refuse_after_cut: float = 0


class Proxy:
    """One listener, two threads per connection."""

    def __init__(self, url: str) -> None:
        self._parts = parse_dsn(url)
        self._upstream = f"{self._parts['host']}/.s.PGSQL.{self._parts.get('port', '5432')}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.weather = Weather()
        self.cuts = 0
        self._refused_until = 0.0
        self._muted: dict[socket.socket, threading.Event] = {}  # whose client gets no answer any more
        self._open: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def url(self, **more: str) -> str:
        """The server's address for clients that come through here."""
        parts = {**self._parts, "host": "127.0.0.1", "port": str(self._listener.getsockname()[1]), **more}
        return "postgresql:///?" + "&".join(f"{name}={value}" for name, value in parts.items())

    def close(self) -> None:
        self._listener.close()
        for end in self._open:
            end.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.weather.refuse or time.monotonic() < self._refused_until:
                _reset(client)
                continue
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._upstream)
            except OSError:
                _reset(client)
                continue
            self._open += [client, server]
            threading.Thread(target=self._to_server, args=(client, server), daemon=True).start()
            threading.Thread(target=self._to_client, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        sent = b""
        for piece in self._pieces(client, server):
            weather = self.weather
            sent = (sent + piece)[-1_000_000:] if weather.commit_of else b""
            if weather.commit_of and weather.commit_of in sent and b"COMMIT\0" in piece:
                if weather.swallowed:
                    self.weather = Weather(swallow=True)
                    continue
                if weather.forwarded:
                    answered = self._muted[server] = threading.Event()
                    server.sendall(piece)
                    answered.wait(10)
                self.weather = Weather()
                self._refused_until = time.monotonic() + weather.refuse_after_cut
                self._cut(client, server)
                return
            _send(server, piece)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        count = 0
        for piece in self._pieces(server, client):
            if server in self._muted:
                self._muted[server].set()
                continue
            limit = self.weather.cut_after
            count += len(piece)
            if limit is not None and count > limit:
                _send(client, piece[: len(piece) - (count - limit)])
                self._cut(client, server)
                return
            _send(client, piece)

    def _pieces(self, source: socket.socket, target: socket.socket) -> Iterator[bytes]:
        while True:
            if self.weather.reset:
                self._cut(source, target)
                return
            try:
                source.settimeout(0.05)
                piece = source.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                piece = b""
            if not piece:
                with suppress(OSError):
                    target.shutdown(socket.SHUT_WR)
                return
            time.sleep(self.weather.delay)
            if not self.weather.swallow:
                yield piece

    def _cut(self, *ends: socket.socket) -> None:
        self.cuts += 1
        for end in ends:
            _reset(end)


def _send(target: socket.socket, piece: bytes) -> None:
    with suppress(OSError):
        target.sendall(piece)


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RD)
    end.close()


@contextmanager
def proxy(url: str) -> Iterator[Proxy]:
    found = Proxy(url)
    try:
        yield found
    finally:
        found.close()
