"""Data-migration pipelines: one folder per move, and the machine that they share (`table_move`)."""

__version__ = "0.2.0"
