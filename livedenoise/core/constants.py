"""Camera constants: what turns counts into electrons, and where those numbers came from.

Units: the only gain is ``gain_e_per_adu``; electrons = (counts - offset_adu) * gain_e_per_adu.
"Photons" would need the quantum efficiency as well and is not used for it.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

ConstantsSource = Literal["calibration", "manual", "camera", "estimated"]


class CameraConstants(msgspec.Struct, frozen=True, kw_only=True):
    """Scalar constants of one camera mode.

    Attributes
    ----------
    gain_e_per_adu : float
        Electrons per count, > 0.
    offset_adu : float
        Counts without light.
    read_noise_e : float
        Root mean square read noise over the pixels, electrons.
    excess_noise_factor : float
        Variance of the multiplied signal over Poisson variance: 1 for sCMOS and CCD, 2 for an
        EMCCD at high gain (Robbins & Hadwen, IEEE Trans. Electron Devices 50, 2003).
    source : str
        ``calibration`` (a folder), ``manual`` (options or configuration), ``camera`` (reported by
        the camera or its preset) or ``estimated`` (from the images, once per recording).
    model : str
        ``poisson_gaussian``, or ``gaussian`` where an estimate found that the noise does not
        follow the signal: the gain is then a scale that makes the network's input fit, and
        nothing expressed in electrons is meant literally.
    calibration_hash : str
        Hash prefix of the calibration folder, empty for none.
    note : str
        One line for people: what was estimated from what, and how well it fits.
    """

    gain_e_per_adu: float
    offset_adu: float
    read_noise_e: float
    excess_noise_factor: float = 1.0
    source: ConstantsSource = "manual"
    model: Literal["poisson_gaussian", "gaussian"] = "poisson_gaussian"
    calibration_hash: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse values no camera has."""
        numbers = (self.gain_e_per_adu, self.offset_adu, self.read_noise_e)
        if not all(np.isfinite(v) for v in (*numbers, self.excess_noise_factor)):
            raise ValueError(f"camera constants must be finite, got {numbers}")
        if self.gain_e_per_adu <= 0:
            raise ValueError(f"gain_e_per_adu must be > 0, got {self.gain_e_per_adu}")
        if self.read_noise_e < 0:
            raise ValueError(f"read_noise_e must be >= 0, got {self.read_noise_e}")
        if self.excess_noise_factor < 1:
            raise ValueError(f"excess_noise_factor must be >= 1, got {self.excess_noise_factor}")


class CameraMaps(msgspec.Struct, frozen=True, kw_only=True):
    """Per-pixel maps of a calibrated camera, all float32 (Y, X) of the same shape.

    Attributes
    ----------
    offset_adu : ndarray
        Mean dark counts.
    gain_e_per_adu : ndarray
        Electrons per count.
    variance_adu2 : ndarray
        Dark variance in counts squared; read noise in electrons is sqrt(variance) * gain.
    """

    offset_adu: npt.NDArray[np.float32]
    gain_e_per_adu: npt.NDArray[np.float32]
    variance_adu2: npt.NDArray[np.float32]

    def crop(self, roi_x: int, roi_y: int, width: int, height: int) -> CameraMaps:
        """Return the maps of a region of interest, in sensor pixels.

        Raises
        ------
        ValueError
            If the region does not lie inside the maps.
        """
        rows, columns = self.offset_adu.shape
        if roi_x < 0 or roi_y < 0 or roi_x + width > columns or roi_y + height > rows:
            raise ValueError(
                f"region {width}x{height} at ({roi_x}, {roi_y}) lies outside maps of "
                f"{columns}x{rows}"
            )
        window = (slice(roi_y, roi_y + height), slice(roi_x, roi_x + width))
        return CameraMaps(
            offset_adu=np.ascontiguousarray(self.offset_adu[window]),
            gain_e_per_adu=np.ascontiguousarray(self.gain_e_per_adu[window]),
            variance_adu2=np.ascontiguousarray(self.variance_adu2[window]),
        )
