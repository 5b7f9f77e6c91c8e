"""Panels of grey images for a model card, and the notice that goes with real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float64]

FMD_NOTICE = """\
Pictures in this folder show crops of the Fluorescence Microscopy Denoising (FMD) data set:
confocal BPAE cells, blue channel, field of view 1, unchanged or denoised as their titles say.

Licence: CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/); so are these pictures.
Citation: Y. Zhang, Y. Zhu, E. Nichols, Q. Wang, S. Zhang, C. Smith, S. Howard, "A Poisson-Gaussian
Denoising Dataset with Real Fluorescence Microscopy Images", CVPR 2019.
"""


def write_panel(path: Path, images: dict[str, Image], span: tuple[float, float]) -> None:
    """Write one row of grey images with common limits and a title each."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(1, len(images), figsize=(2.6 * len(images), 2.85))
    for axis, (name, image) in zip(axes, images.items(), strict=True):
        axis.imshow(image, cmap="gray", vmin=span[0], vmax=span[1], interpolation="nearest")
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.9, wspace=0.03)
    figure.savefig(path, dpi=100)
    plt.close(figure)
