"""Which code made a row: the version of the package, and of the mapping that it makes."""

from __future__ import annotations

import inspect
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from pipelines import __version__
from pipelines.table_move.pure import estimate
from pipelines.table_move.spec import Move

_MAPPING_MODULES = ("ids", "fingerprint", "ownership", "mapping")


def code_version(move: Move) -> str:
    """The version of the package, and of the mapping that it makes."""
    return f"{__version__}+{mapping_fingerprint(move)}"


def mapping_fingerprint(move: Move) -> str:
    """Which mapping this code makes: the declaration, the move's transform and the machine's own mapping modules."""
    digest = sha256(f"{move.source}{move.target}{move.namespace}".encode())
    digest.update(Path(find_spec(move.transform.partition(":")[0]).origin).read_bytes())
    for name in _MAPPING_MODULES:
        digest.update((Path(inspect.getfile(estimate)).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]
