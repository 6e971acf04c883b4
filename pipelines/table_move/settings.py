"""The options of all verbs: command line over environment (PIPELINES_…) over defaults. The one reader of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipelines.table_move.errors import UsageProblem
from pipelines.table_move.status import SUBJECTS

_DURATION = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_SIZE = {"": 1, "B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3}


def duration(text: object) -> float:
    """Seconds of `500ms`, `2s`, `5min`, `1h`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h)", str(text).strip())
    if match is None:
        raise ValueError("a duration is a number and ms, s, min or h, such as 500ms or 5min")
    return float(match[1]) * _DURATION[match[2]]


def size(text: object) -> int:
    """Bytes of `8MB`, `512kB`, `1000`."""
    match = re.fullmatch(r"(\d+)\s*(B|kB|MB|GB)?", str(text).strip())
    if match is None:
        raise ValueError("a size is a number of bytes, or a number and kB, MB or GB, such as 8MB")
    return int(match[1]) * _SIZE[match[2] or ""]


def _between(lowest: str, highest: str, read: Callable[[object], float]) -> AfterValidator:
    """Neither less nor more; in the words in which an option is written."""

    def check(value: float) -> float:
        if not read(lowest) <= value <= read(highest):
            raise ValueError(f"it has to be between {lowest} and {highest}")
        return value

    return AfterValidator(check)


Given = TypeVar("Given", str, Path)


def _plain(given: Given) -> Given:
    """Bytes of the command line that are no UTF-8: no database holds them, and the journal has to."""
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in str(given)):
        raise ValueError("it has to be text in UTF-8")
    return given


LONGEST = "500h"  # what a server counts in milliseconds, in 31 bits
Seconds = Annotated[float, BeforeValidator(duration), _between("0s", LONGEST, duration)]
SomeSeconds = Annotated[float, BeforeValidator(duration), _between("1ms", LONGEST, duration)]  # 0 would be without end
Bytes = Annotated[int, BeforeValidator(size), _between("1kB", "1GB", size)]
Text = Annotated[str, AfterValidator(_plain)]
Place = Annotated[Path, AfterValidator(_plain)]


class Manner(BaseSettings):
    """How a call is answered; no part of a move."""

    model_config = SettingsConfigDict(env_prefix="PIPELINES_", frozen=True, extra="ignore", populate_by_name=True)

    as_json: bool = Field(False, validation_alias=AliasChoices("as_json", "PIPELINES_JSON"), exclude=True)
    log_format: Literal["text", "json"] = Field("text", exclude=True)
    verbose: bool = Field(False, exclude=True)

    @classmethod
    def read(cls, **given: object) -> Self:
        """As far as it can be read: what is wrong in it is said in the manner of the rest."""
        wanted = {name: value for name, value in given.items() if value is not None and name in Manner.model_fields}
        try:
            return cls(**wanted)
        except ValidationError as problem:
            wrong = {
                str(name).lower().removeprefix("pipelines_") for error in problem.errors() for name in error["loc"]
            }
            right = {name: value for name, value in wanted.items() if name not in wrong}
            return cls.model_construct(**right)


class Settings(Manner):
    """Frozen; the URL is secret and is shown nowhere."""

    database_url: SecretStr | None = Field(
        None, validation_alias=AliasChoices("database_url", "DATABASE_URL"), exclude=True
    )
    demo: bool = Field(False, exclude=True)
    url_in_environment: bool = Field(False, exclude=True)  # the next call needs it there as well
    application_schema: Text = Field(
        "public", min_length=1, max_length=63, validation_alias=AliasChoices("schema", "PIPELINES_SCHEMA")
    )
    default_business: Text | None = None
    owners: Place | None = None
    on_conflict: Literal["stop", "keep-target"] = "stop"
    allow_dangling: bool = False
    accept_loss: bool = False
    archive: Place | None = None
    drop: bool = False
    until: Literal["copy", "verify"] | None = None
    grace: Seconds = Field("1s", validate_default=True)
    max_write_pause: SomeSeconds = Field("30s", validate_default=True)
    batch_bytes: Bytes = Field("4MB", validate_default=True)
    workers: int = Field(2, ge=1, le=64)
    lock_timeout: SomeSeconds = Field("500ms", validate_default=True)
    lock_wait: SomeSeconds = Field("1min", validate_default=True)
    report_dir: Place = Path("reports")
    # What single verbs take; no part of a move.
    yes: bool = Field(False, exclude=True)
    dry_run: bool = Field(False, exclude=True)
    suite: Literal[SUBJECTS] | None = Field(None, exclude=True)
    run: int | None = Field(None, ge=1, le=2**63 - 1, exclude=True)
    open: bool = Field(False, exclude=True)
    list_all: bool = Field(False, validation_alias=AliasChoices("list_all", "PIPELINES_LIST"), exclude=True)
    show_content: bool = Field(False, exclude=True)
    accept_loss: bool = Field(False, exclude=True)
    reset: bool = Field(False, exclude=True)
    rows: int | None = Field(None, ge=0, le=100_000_000, exclude=True)

    @classmethod
    def read(cls, **given: object) -> Self:
        """Settings from the options that were given (None: not given) and the environment. Raises UsageProblem."""
        said = {name: value for name, value in given.items() if value is not None}
        try:
            return cls(**said, url_in_environment="database_url" not in said)
        except ValidationError as problem:
            said = "; ".join(f"{_option(error['loc'])}: {error['msg']}" for error in problem.errors())
            raise UsageProblem(
                f"An option cannot be read: {said}.",
                untouched="Nothing was read or written.",
                next_step="--help shows the options and how they are written.",
            ) from None

    def shown(self) -> dict[str, object]:
        """What the journal and the report keep: what makes a difference to a move, without the URL."""
        return self.model_dump(mode="json")


def _option(location: tuple[int | str, ...]) -> str:
    name = str(location[0] if location else "option").replace("_", "-").lower().removeprefix("pipelines-")
    return "--" + {"as-json": "json", "list-all": "list"}.get(name, name)
