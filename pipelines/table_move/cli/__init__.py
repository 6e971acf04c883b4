"""The verbs of a move as a command line: a file per verb, and what they share in `call` and `options`."""
