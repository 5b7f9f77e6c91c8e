"""Logging: standard library loggers under ``livedenoise``, configured only by a program's entry.

Importing this package configures nothing: a library must not touch its host's handlers.
"""

from __future__ import annotations

import logging
import sys

ROOT = "livedenoise"


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module (pass ``__name__``)."""
    return logging.getLogger(name)


def configure(stage: str, *, verbose: bool = False) -> None:
    """Send warnings (or everything when ``verbose``) to stderr, marked with the stage's name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s {stage} %(levelname)s %(message)s"))
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
