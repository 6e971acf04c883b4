"""The calls that may come after this one, with this one's options."""

from __future__ import annotations

from pipelines.table_move.database.address import shown_url
from pipelines.table_move.pure.command_line import VERBS, CommandLine
from pipelines.table_move.settings import Settings
from pipelines.table_move.spec import Move

_FIELDS = {"--schema": "application_schema"}


def next_calls(settings: Settings, move: Move) -> CommandLine:
    """Every option of this call, said on the command line or in the environment, as the next command line has it."""
    wanted = {name for names in VERBS.values() for name in names} - {"--database-url"}
    texts = {name: _text(_value(settings, name)) for name in sorted(wanted)}
    given = settings.database_url is not None and not settings.url_in_environment
    url = {"--database-url": shown_url(settings.database_url.get_secret_value())} if given else {}
    return CommandLine(
        package=move.package,
        options={**url, **{name: text for name, text in texts.items() if text is not None}},
        url_in_environment=settings.database_url is not None and settings.url_in_environment,
    )


def _value(settings: Settings, option: str) -> object:
    """What was said of an option; None where nothing was."""
    name = _FIELDS.get(option, option.removeprefix("--").replace("-", "_"))
    return getattr(settings, name) if name in settings.model_fields_set else None


def _text(value: object) -> str | None:
    """The text that reads back as the same value; "" for an option without one, None for one that is not wanted."""
    if value is None or value is False:
        return None
    if value is True:
        return ""
    if isinstance(value, float):  # seconds
        return f"{value:.0f}s" if value == int(value) else f"{value * 1000:g}ms"
    return str(value)
