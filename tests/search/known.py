"""Kinds of finds that wait to be mended: the samples of `make test` let them pass, `make search` shows them as known."""

KNOWN: dict[str, str] = {}
