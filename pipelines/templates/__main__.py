"""`python -m pipelines.templates VERB`."""

from __future__ import annotations

from pipelines.table_move.cli.app import make_app
from pipelines.table_move.cli.demonstration import Demo
from pipelines.templates import demo
from pipelines.templates.move import TEMPLATES

app = make_app(
    TEMPLATES,
    Demo(create=demo.create, default_business=demo.DEFAULT_BUSINESS, default_rows=demo.DEFAULT_ROWS),
)

if __name__ == "__main__":
    app()
