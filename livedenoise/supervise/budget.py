"""How often a stage may be replaced. Pure: the moment is given.

Example
-------
>>> budget = RestartBudget(restarts=1, window_ns=1_000)
>>> budget.take(0), budget.take(500), budget.take(1_001)
(True, False, True)
"""

from __future__ import annotations

from collections import deque


class RestartBudget:
    """At most ``restarts`` within any ``window_ns``.

    Parameters
    ----------
    restarts : int
        0 allows none.
    window_ns : int
        Length of the sliding window.
    """

    def __init__(self, restarts: int, window_ns: int) -> None:
        self._restarts = restarts
        self._window_ns = window_ns
        self._taken_ns: deque[int] = deque()

    @property
    def used(self) -> int:
        """Return how many of the window are used, as of the last ``take``."""
        return len(self._taken_ns)

    def take(self, now_ns: int) -> bool:
        """Use one restart if the budget allows it."""
        while self._taken_ns and now_ns - self._taken_ns[0] > self._window_ns:
            self._taken_ns.popleft()
        if len(self._taken_ns) >= self._restarts:
            return False
        self._taken_ns.append(now_ns)
        return True
