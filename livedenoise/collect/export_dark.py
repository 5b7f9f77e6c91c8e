"""What a pixel of a stored image holds without light, for each exposure of a data set.

Knows: the dark images of a data set and its scalar offset. Must not know: pairs, scales, exports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from livedenoise.collect.field_file import file_sha256
from livedenoise.collect.records import DatasetHeader
from livedenoise.core.errors import RecordError

FloatImage = npt.NDArray[np.float32]

_MEND = "bring the file back from a copy of the data set"


@dataclass(frozen=True, eq=False)
class Darks:
    """Counts without light.

    Attributes
    ----------
    offset_adu : float
        Where there are no dark images.
    images : mapping
        Exposure in microseconds to mean dark counts, float32 (Y, X).
    """

    offset_adu: float
    images: Mapping[int, FloatImage] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, header: DatasetHeader) -> Self:
        """Read those of a data set; each file is compared with its hash first.

        Raises
        ------
        RecordError
            If one is missing or damaged.
        """
        images = {int(us): _read(folder, name, header) for us, name in header.darks.items()}
        return cls(header.offset_adu, images)

    def at(self, exposure_us: int) -> FloatImage:
        """Return the counts at an exposure, float32 (Y, X); without dark images of shape ().

        The nearest exposure serves for one that is not there, as it does in the checks.
        """
        if not self.images:
            return np.asarray(self.offset_adu, np.float32)
        wanted = np.log(max(exposure_us, 1))
        nearest = min(self.images, key=lambda us: abs(float(np.log(max(us, 1)) - wanted)))
        return self.images[nearest]


def _read(folder: Path, name: str, header: DatasetHeader) -> FloatImage:
    import tifffile

    path = folder / name
    try:
        actual, expected = file_sha256(path), header.sha256.get(name, "")
        if actual != expected:
            text = f"{path}: was altered: its hash is {actual[:12]}, not {expected[:12]}"
            raise RecordError(text, _MEND)
        with tifffile.TiffFile(path) as tiff:
            return np.asarray(tiff.pages.first.asarray(), np.float32)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: the dark frames cannot be read: {error}", _MEND) from error
