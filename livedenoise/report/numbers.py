"""Numbers as people write them: as many digits as the error bears.

Knows: rounding. Must not know: units, reports.
"""

from __future__ import annotations

from math import floor, isfinite, log10

_MOST_DECIMALS = 8


def rounded(value: float, error: float) -> tuple[str, str]:
    """Return value and error as text: the error to two digits, the value as far as it.

    An error that is zero or not finite leaves six digits of the value and no error.

    >>> rounded(0.460123, 0.00123)
    ('0.4601', '0.0012')
    >>> rounded(51234.0, 120.0)
    ('51230', '120')
    >>> rounded(12.3456789, 0.0)
    ('12.3457', '')
    """
    if not (isfinite(error) and error > 0 and isfinite(value)):
        return f"{value:.6g}", ""
    digits = 1 - floor(log10(error))
    if digits > _MOST_DECIMALS:
        return f"{value:.{_MOST_DECIMALS}g}", f"{error:.1e}"
    decimals = max(digits, 0)
    return f"{round(value, digits):.{decimals}f}", f"{round(error, digits):.{decimals}f}"
