"""Camera counts <-> network units, both ways in one object.

Knows: the affine map between counts and the network's "k-sigma" units, its inverse, and how a
denoised float image becomes integer counts again. All of it in float32.
Must not know: networks, engines, files, where the constants came from.

Units
-----
A camera count is ``counts = offset + e / gain`` with ``e`` electrons whose variance is
``F2 * N + r**2`` (N mean electrons, F2 excess noise factor, r read noise in electrons). Then

    u = (counts - offset) * gain / F2 + (r / F2)**2

has variance equal to its mean for every camera, so one network serves all of them: the k-sigma
transform (Wang et al., "Practical deep raw image denoising on mobile devices", ECCV 2020) in its
canonical form. It is linear: exactly invertible and unbiased, unlike a square root.

Example
-------
>>> transform = CountsTransform(
...     CameraConstants(gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=2.0)
... )
>>> float(transform.to_network(np.array([[120]], dtype=np.uint16))[0, 0])
14.0
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.errors import CalibrationError, DenoiseError
from livedenoise.core.frame import Frame, max_count

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CountsTransform:
    """The affine map between counts and network units of one camera mode.

    Parameters
    ----------
    constants : CameraConstants
        Scalar gain, offset, read noise and excess noise factor.
    maps : CameraMaps, optional
        Per-pixel maps (Y, X) already cropped to the frame. Offset and gain are then taken per
        pixel on the way in. The read noise stays the scalar rms: adding each pixel's own
        ``r_i**2`` would add a known fixed pattern to the image, which the network would have to
        keep (it cannot tell it from structure) and the scalar inverse would not take out.
        The way out always uses the scalar gain and offset, so the camera's fixed pattern
        (offset and gain differences between pixels) is removed, and the output is in the counts
        of the average pixel.

    Attributes
    ----------
    scale, shift : float
        ``u = counts * scale + shift`` with the scalar constants; ``scale`` is in electrons (over
        F2) per count. The inverse is always ``(u - shift) / scale``.
    forward_scale, forward_shift : ndarray of float32
        The same pair for the way in: shape () without maps, (Y, X) with them. Engines that run
        the map inside their graph embed these.

    Raises
    ------
    CalibrationError
        If the maps differ in shape from each other.
    """

    constants: CameraConstants
    maps: CameraMaps | None = None
    scale: float = field(init=False)
    shift: float = field(init=False)
    forward_scale: FloatImage = field(init=False, repr=False)
    forward_shift: FloatImage = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Compute both affine pairs once, in double precision, and keep them in single."""
        scale, shift = _affine(
            self.constants, self.constants.gain_e_per_adu, self.constants.offset_adu
        )
        forward_scale, forward_shift = scale, shift
        if self.maps is not None:
            gain, offset = self.maps.gain_e_per_adu, self.maps.offset_adu
            if gain.shape != offset.shape:
                raise CalibrationError(
                    f"gain map is {gain.shape} but offset map is {offset.shape} (Y, X)"
                )
            forward_scale, forward_shift = _affine(self.constants, gain, offset)
        values = {
            "scale": float(scale),
            "shift": float(shift),
            "forward_scale": np.asarray(forward_scale, dtype=np.float32),
            "forward_shift": np.asarray(forward_shift, dtype=np.float32),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def to_network(self, counts: Frame, out: FloatImage | None = None) -> FloatImage:
        """Return counts in network units.

        Parameters
        ----------
        counts : ndarray (..., Y, X)
            Camera counts, uint8, uint16 or float32.
        out : ndarray of float32, optional
            Receives the result; same shape as ``counts``.

        Returns
        -------
        ndarray of float32, same shape
            ``u``; values below the offset are kept, ``u`` may be negative.

        Raises
        ------
        CalibrationError
            If the frame's (Y, X) is not that of the maps.
        """
        map_shape = self.forward_scale.shape
        if map_shape and counts.shape[-2:] != map_shape:
            raise CalibrationError(
                f"frame is {counts.shape[-2:]} but the calibration maps are {map_shape} (Y, X)",
                "crop the maps to the region of interest",
            )
        target = np.empty(counts.shape, dtype=np.float32) if out is None else out
        np.multiply(counts, self.forward_scale, out=target, dtype=np.float32, casting="unsafe")
        target += self.forward_shift
        return target

    def to_counts(self, u: FloatImage, out: FloatImage | None = None) -> FloatImage:
        """Return network units ``u`` as float32 counts of the average pixel (not yet rounded).

        Parameters
        ----------
        u : ndarray of float32, any shape
            Network units.
        out : ndarray of float32, optional
            Receives the result; may be ``u`` itself.
        """
        target = np.empty(u.shape, dtype=np.float32) if out is None else out
        np.subtract(u, np.float32(self.shift), out=target)
        target /= np.float32(self.scale)
        return target

    @staticmethod
    def quantise(
        counts: FloatImage, dtype: str, bit_depth: int, out: Frame | None = None
    ) -> tuple[Frame, int]:
        """Return float counts in a frame's data type; see :func:`quantise`."""
        return quantise(counts, dtype, bit_depth, out)


def quantise(
    counts: FloatImage, dtype: str, bit_depth: int, out: Frame | None = None
) -> tuple[Frame, int]:
    """Round float counts to nearest (halves to even) and clip them to the range of the camera.

    Truncation would lose half a count everywhere: a bias of several per cent in dim images.

    Parameters
    ----------
    counts : ndarray of float32, any shape
        Denoised counts.
    dtype : str
        ``"|u1"``, ``"<u2"``, or ``"<f4"``, which is neither rounded nor clipped.
    bit_depth : int
        Valid bits: integer results lie in [0, 2**bit_depth - 1].
    out : ndarray, optional
        Receives the result, of ``dtype`` and the shape of ``counts``.

    Returns
    -------
    array : ndarray of ``dtype``
        The counts.
    n_clipped : int
        Pixels whose rounded value lay outside the range (0 for float).

    Raises
    ------
    ValueError
        If ``bit_depth`` does not fit ``dtype``.
    DenoiseError
        If any pixel is infinite or not a number: no count stands for it.
    """
    kind = np.dtype(dtype)
    low, high = _finite_range(counts)
    if kind.kind == "f":
        return _store(counts, kind, out), 0
    top = max_count(bit_depth)
    if top > np.iinfo(kind).max:
        raise ValueError(f"{bit_depth} bits do not fit {dtype}")
    rounded = np.rint(counts)
    n_clipped = 0
    if np.rint(low) < 0 or np.rint(high) > top:
        n_clipped = int(np.count_nonzero((rounded < 0) | (rounded > top)))
        np.clip(rounded, 0, top, out=rounded)
    return _store(rounded, kind, out), n_clipped


def _affine(constants: CameraConstants, gain: Any, offset: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Return (scale, shift) of u = counts * scale + shift; scalars or (Y, X) arrays alike."""
    factor = constants.excess_noise_factor
    scale = np.asarray(gain, dtype=np.float64) / factor
    shift = (constants.read_noise_e / factor) ** 2 - np.asarray(offset, dtype=np.float64) * scale
    return scale, shift


def _finite_range(counts: FloatImage) -> tuple[float, float]:
    low, high = float(counts.min()), float(counts.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DenoiseError("the denoised image holds pixels that are infinite or not a number")
    return low, high


def _store(values: FloatImage, kind: np.dtype[Any], out: Frame | None) -> Frame:
    if out is None:
        return values.astype(kind)
    np.copyto(out, values, casting="unsafe")
    return out
