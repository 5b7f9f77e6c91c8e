"""What a diagnosis says: every number with its error, every judgement with its reason.

Knows: the form. Must not know: how anything is measured.

Every number is finite, so that JSON of it is strict.
"""

from __future__ import annotations

from math import isfinite
from typing import Literal

import msgspec

Fit = Literal["fits", "with care", "does not fit", "unknown"]


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """A measured number.

    Attributes
    ----------
    value : float or None
        None where it could not be measured; ``note`` then says why.
    error : float or None
        Standard error, None where it is not known.
    unit : str
        Empty for fractions and correlations.
    note : str
        What to know when reading it.
    upper_limit : bool
        Whether the truth may be less, for the reason in ``note``.
    least : float or None
        What the truth is at least, where an upper limit has such a bound.
    """

    value: float | None
    error: float | None = None
    unit: str = ""
    note: str = ""
    upper_limit: bool = False
    least: float | None = None


def measured(
    value: float,
    error: float | None = None,
    *,
    unit: str = "",
    note: str = "",
    upper_limit: bool = False,
) -> Number:
    """Return a number whose value and error are finite, or say that they are not."""
    if not isfinite(value):
        return Number(value=None, unit=unit, note=note or "not a finite number")
    known = None if error is None or not isfinite(error) else float(error)
    return Number(value=float(value), error=known, unit=unit, note=note, upper_limit=upper_limit)


def beyond(number: Number, limit: float) -> bool:
    """Return whether a number lies beyond a limit, either way, and three errors from 0."""
    value = abs(number.value or 0.0)
    return value > limit and value > 3.0 * (number.error or 0.0)


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a way of training fits this noise, and why."""

    name: str
    title: str
    fit: Fit
    why: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of noise a recording has.

    Attributes
    ----------
    path : str
        The recording.
    n_frames, n_used : int
        Frames in it, and frames read for the noise.
    shape : tuple of int
        (Y, X).
    dtype : str
        Of a pixel.
    bit_depth : int
        As the recording says, or its pixel type.
    noise_model : str
        ``poisson_gaussian``: the variance follows the mean; ``gaussian``: it does not.
    gain, offset, read_noise : Number
        Electrons per count, counts, electrons: one estimate; None in a ``gaussian`` model.
    noise : Number
        Median noise of a pixel, counts.
    noise_factor : Number
        Variance over what the calibration given says: 1 where it holds.
    grain_factor : Number
        Noise power of large areas over that of a pixel: the sum of the correlations of all
        neighbours up to two pixels away, 1 for white noise.
    structure : Number
        Contrast of the image without its noise: standard deviation of areas of 8 px, counts.
    constant : Number
        Fraction of the field in which no pixel ever changes.
    lag1_x, lag1_y, lag1_diagonal : Number
        Correlation of the noise of a pixel with that of its neighbour, from frame differences.
    lag2_x, lag2_y : Number
        The same two pixels apart.
    fine_lag1_x, fine_lag1_y : Number
        As ``lag1_x`` and ``lag1_y``, from the finest detail alone, which motion does not reach;
        assumes that a small filter made it.
    row_noise, column_noise : Number
        Noise that a whole row (column) shares, as a fraction of all noise of a pixel (standard
        deviations).
    lag1_time : Number
        Correlation of the noise of a pixel with that in the next frame.
    bleaching : Number
        Fraction of the signal lost over the recording.
    bleaching_adu : Number
        The same in counts.
    flicker : Number
        Standard deviation of the frames' brightness around that trend, as a fraction.
    drift : Number
        From the start of the recording to where it lies furthest off, pixels.
    moving : Number
        Fraction of the field whose frames differ by more than noise.
    repeated : Number
        Frames read that equal the one before.
    zero_fraction, saturated_fraction : Number
        Pixels at 0 and at the highest count.
    suspicions : tuple of str
        Signs that the pixels are not what a sensor gave: rescaled, filtered, averaged, repeated.
    methods : tuple of Method
        Ways of training, the most fitting first.
    summary : tuple of str
        Sentences for people, the most important first.
    """

    path: str
    n_frames: int
    n_used: int
    shape: tuple[int, int]
    dtype: str
    bit_depth: int
    noise_model: Literal["poisson_gaussian", "gaussian"]
    gain: Number
    offset: Number
    read_noise: Number
    noise: Number
    noise_factor: Number
    grain_factor: Number
    structure: Number
    constant: Number
    lag1_x: Number
    lag1_y: Number
    lag1_diagonal: Number
    lag2_x: Number
    lag2_y: Number
    fine_lag1_x: Number
    fine_lag1_y: Number
    row_noise: Number
    column_noise: Number
    lag1_time: Number
    bleaching: Number
    bleaching_adu: Number
    flicker: Number
    drift: Number
    moving: Number
    repeated: Number
    zero_fraction: Number
    saturated_fraction: Number
    suspicions: tuple[str, ...] = ()
    methods: tuple[Method, ...] = ()
    summary: tuple[str, ...] = ()
