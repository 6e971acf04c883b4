"""Numbered SQL migrations, forward and back: plain files that psql applies as well."""
