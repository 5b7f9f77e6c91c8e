"""What the hook tells its user: each thing once, however many images it concerns.

Knows: a logger and what was said. Must not know: images, connections. Nothing is printed where the
user's program has sent its log elsewhere; where it has set up none, Python's own last resort writes
warnings to stderr.
"""

from __future__ import annotations

import threading

from livedenoise.core.log import get_logger

_MOST = 100
_logger = get_logger("livedenoise.hook")


class Words:
    """Warnings, one for each key.

    Attributes
    ----------
    said : list of str
        Texts so far, in order.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[str] = set()
        self.said: list[str] = []

    def warn(self, key: str, text: str, *, trace: bool = False, aloud: bool = True) -> bool:
        """Say ``text`` unless something was said under ``key``; return whether it was.

        ``trace`` adds the traceback; not ``aloud`` only remembers it: another hook has logged it.
        """
        with self._lock:
            if key in self._keys or len(self._keys) >= _MOST:
                return False
            self._keys.add(key)
            self.said.append(text)
        if aloud:
            _logger.warning("livedenoise: %s", text, exc_info=trace)
        return True

    @staticmethod
    def note(text: str) -> None:
        """Say what only who asks for it wants to read."""
        _logger.info("livedenoise: %s", text)
