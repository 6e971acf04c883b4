"""`python -m pipelines.default_templates VERB`."""

from __future__ import annotations

from pipelines.default_templates.move import DEFAULT_TEMPLATES
from pipelines.table_move.cli.app import make_app

app = make_app(DEFAULT_TEMPLATES)

if __name__ == "__main__":
    app()
