"""The next command, complete: the move's module, the database, the schema, and every option of this call that matters
to it, quoted for a shell. No secret is in it. The only builder of command lines."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

_DATABASE = ("--demo", "--database-url", "--schema")
_CHOICES = ("--default-business", "--owners", "--on-conflict", "--allow-dangling")
_LOCKS = ("--lock-timeout", "--lock-wait")

VERBS: dict[str, tuple[str, ...]] = {
    "plan": (*_DATABASE, *_CHOICES),
    "run": (
        *_DATABASE,
        *_CHOICES,
        *("--drop", "--archive", "--grace", "--max-write-pause", "--batch-bytes", "--workers"),
        *_LOCKS,
        "--report-dir",
    ),
    "status": _DATABASE,
    "verify": (*_DATABASE, "--allow-dangling", "--report-dir"),
    "report": (*_DATABASE, "--report-dir"),
    "rollback": (*_DATABASE, "--max-write-pause", *_LOCKS, "--report-dir"),
    "purge": (*_DATABASE, "--archive", *_LOCKS, "--report-dir"),
}
"""What a verb takes over from the call before. Where to stop, what to accept and what not to ask is said anew."""


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """The calls of one move that fit the present one.

    options: those of this call that are not at their defaults, with their text; "" where an option has none.
    url_in_environment: the database was named by DATABASE_URL, which the next call needs as well.
    """

    package: str
    options: Mapping[str, str]
    url_in_environment: bool = False

    def line(self, verb: str, *flags: str) -> str:
        """flags: options and texts of this call alone, which go before those of the present one."""
        kept = ((name, self.options[name]) for name in VERBS[verb] if name in self.options and name not in flags)
        words = [word for name, text in kept for word in ((name, text) if text else (name,))]
        return shlex.join(["python", "-m", self.package, verb, *flags, *words])

    def to(self, purpose: str, verb: str, *flags: str) -> str:
        """The same as a sentence, with a reminder of what it needs in the environment."""
        reminder = ", with DATABASE_URL set as for this call" if self.url_in_environment else ""
        return f"To {purpose}{reminder}: {self.line(verb, *flags)}"
