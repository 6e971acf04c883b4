"""Names and values as SQL, for the commands that a message shows."""

from __future__ import annotations


def quoted(*names: str) -> str:
    """A name, qualified by the ones before it; always in quotes, so that no keyword and no capital can spoil it."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(text: str) -> str:
    """A text as a constant, for standard_conforming_strings = on."""
    return "'" + text.replace("'", "''") + "'"
