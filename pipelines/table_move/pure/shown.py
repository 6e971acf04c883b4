"""Text of others, made harmless for whatever shows it line by line."""

from __future__ import annotations


def shown(text: object) -> str:
    """In one line: control characters, line ends, marks that turn or hide text, and halves of pairs become escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text))
