"""`python -m pipelines.migrations VERB`."""

from __future__ import annotations

from pipelines.migrations.cli import app

if __name__ == "__main__":
    app()
