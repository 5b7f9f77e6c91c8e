"""The verbs of the command line: one module a group, each with ``register`` and short bodies."""
