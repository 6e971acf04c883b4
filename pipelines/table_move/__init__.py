"""The machine of a table move. It names no table: a `Move` (see `spec`) tells it what to do."""
