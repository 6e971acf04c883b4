"""Kinds of finds that wait to be mended: the samples of `make test` let them pass, `make search` shows them as known."""

_OF_THE_SERVER = (
    "what the server says about an error that no class of ours names goes into the trace, report and journal"
)

KNOWN: dict[str, str] = {
    "run: exit 70, DatabaseError in hold.execute": "a trigger that raises an SQLSTATE of a class that the driver does not know",
    "run shows row content or the server's words": _OF_THE_SERVER,
    ".html of the report shows row content or the server's words": _OF_THE_SERVER,
    ".json of the report shows row content or the server's words": _OF_THE_SERVER,
    "pipelines.run holds row content or the server's words": _OF_THE_SERVER,
}
