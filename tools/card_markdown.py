"""The words and tables of a model card; ``model_card.py`` measures what stands in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Report = dict[str, Any]


def write_card(report: Report, pictures: list[Path], package: Path, root: Path) -> str:
    """Return the card as Markdown, links relative to the package folder."""
    facts = report["package"]
    parts = [
        _head(facts),
        _simulated(report),
        _with_bm3d(report.get("simulated_bm3d")),
        _photometry(report["photometry"]),
        _fmd(report.get("fmd")),
        _speed(report),
        _pictures(pictures, package, root),
        _making(facts),
        _limits(report),
    ]
    return "\n".join(part for part in parts if part)


def _head(facts: Report) -> str:
    low, high = facts["electron_range"]
    return f"""# {facts["name"]}

{facts["description"]}

| | |
| --- | --- |
| input, output | float32 `(N, 1, Y, X)` in `u = electrons + read_noise_e**2`; Y and X multiples \
of {facts["stride"]} |
| network | PixelUnshuffle(2) U-Net at 1/2 to 1/16 of the resolution, dense 3 x 3 convolutions, \
{facts["parameters"]:,} parameters, {facts["onnx_bytes"] / 1000:.0f} kB |
| cost | {facts["kflop_per_px"]} kFLOP per pixel |
| receptive field | {facts["receptive_field_px"]} px radius |
| trained for | {low:g} to {high:g} electrons at the brightest 1 %, read noise \
{facts["read_noise_range_e"][0]:g} to {facts["read_noise_range_e"][1]:g} e |
| SHA-256 | `{facts["sha256"]}` |

The local mean of the image (about 48 x 48 pixels) is kept by construction: whatever the network
estimates, the low-pass of input minus output is added back. Intensities stay photometric.

The manifest carries an affine for one typical camera, so that bioimageio.core can run the
package on counts; livedenoise replaces it by the constants of the camera at hand.
"""


def _table(rows: list[list[str]], header: list[str]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _score(values: Report) -> str:
    return f"{values['psnr']:.2f} / {values['ssim']:.3f}"


def _level_table(levels: list[Report]) -> str:
    names = list(levels[0]["scores"])
    header = ["peak e", "read noise e", *names, "better than Gaussian"]
    rows = [
        [
            f"{level['peak_e']:g}",
            f"{level['read_noise_e']:g}",
            *(_score(level["scores"][name]) for name in names),
            f"{level['wins_over_gaussian']} of {level['images']}",
        ]
        for level in levels
    ]
    return _table(rows, header)


def _with_bm3d(levels: list[Report] | None) -> str:
    if levels is None:
        return ""
    return f"""## Beside BM3D

The {levels[0]["images"]} of these scenes with a PSF of 1.2 px; BM3D (package bm3d) takes seconds
for each. PSNR in dB / SSIM as above.

{_level_table(levels)}
"""


def _simulated(report: Report) -> str:
    levels = report["simulated"]
    names = list(levels[0]["scores"])
    bias = [
        [
            f"{level['peak_e']:g}",
            f"{level['read_noise_e']:g}",
            *(f"{level['scores'][name]['bias']:.4f}" for name in names),
            f"{level['scores']['model']['worst_bias']:.5f}",
        ]
        for level in levels
    ]
    return f"""## Simulated held-out scenes

{levels[0]["images"]} scenes of 256 x 256 (tubules, granules, cells, mixed; PSF sd 0.8, 1.2, 2.0 px)
with seeds no training scene has; counts of {report["gain_e_per_adu"]} e, rounded; exact camera
constants. "Peak" is the mean of the brightest 1 %; in the last two rows read noise dominates.
PSNR in dB / SSIM (skimage, 7 x 7 uniform window), both over the range of the true image. The
Gaussian's sigma is the best one for each image (it has seen the truth). NLM works after the
generalised Anscombe transform.

{_level_table(levels)}

Intensity: mean out / mean in after subtracting the offset, averaged over scenes; last column: the
model's worst scene.

{_table(bias, ["peak e", "read noise e", *names, "model, worst"])}
"""


def _photometry(rows: list[Report]) -> str:
    cells = [
        [f"{r['mean_e']:g}", str(r["bits"]), f"{r['ratio']:.5f}", str(r["clipped"])] for r in rows
    ]
    return f"""## Photometry

Static mixed scenes of 512 x 512 with a given MEAN level, whole counts in, rounded to whole counts
out, in a camera of 8 and of 16 bits. Wanted: within 0.5 % of 1.

{_table(cells, ["mean e", "bits", "mean out / mean in", "pixels clipped"])}
"""


def _fmd(fmd: Report | None) -> str:
    if fmd is None:
        return ""
    c = fmd["constants"]
    rows = [
        [name, f"{v['psnr']:.2f}", f"{v['ssim']:.4f}", f"{v['bias']:.4f}"]
        for name, v in fmd["scores"].items()
    ]
    return f"""## A real field

FMD confocal BPAE cells, blue channel, field 1 (Zhang et al., CVPR 2019; CC BY-SA 4.0): {
        len(fmd["frames"])
    } of 50
repeats against their 50-frame mean, data range 255. A development field: it was not trained on and
nothing was chosen on it; published figures of others rest on other fields. Constants were
estimated once from the first 16 frames: gain {c["gain_e_per_adu"]:.4g} e/count, offset \
{c["offset_adu"]:.3g} counts,
read noise {c["read_noise_e"]:.3g} e ({c["model"]}). The 50-frame mean contains the judged frame and
a slow drift.

{_table(rows, ["method", "PSNR dB", "SSIM", "mean out / mean in"])}

The model beats the oracle Gaussian on {fmd["wins_over_gaussian"]} of {len(fmd["frames"])} frames.
"""


def _speed(report: Report) -> str:
    rows = [
        [str(s["threads"]), f"{s['p50_ms']:.1f}", f"{s['p99_ms']:.1f}", f"{1e3 / s['p50_ms']:.0f}"]
        for s in report["speed"]
    ]
    machine = report["machine"]
    return f"""## Speed

OpenVINO {machine["openvino"].split("-")[0]}, single precision, one 512 x 512 frame of fixed shape,
latency hint, network alone; {machine["cpu"]}. Quietest of
{report["speed_rounds"]} rounds of 50 frames.

{_table(rows, ["threads", "median ms", "p99 ms", "frames per s"])}
"""


def _pictures(pictures: list[Path], package: Path, root: Path) -> str:
    if not pictures:
        return ""
    up = "/".join([".."] * len(package.resolve().relative_to(root).parts))
    lines = [f"![{p.stem}]({up}/{p.resolve().relative_to(root).as_posix()})" for p in pictures]
    return "## Pictures\n\nCommon limits within a row.\n\n" + "\n\n".join(lines) + "\n"


def _making(facts: Report) -> str:
    return f"""## How it was made

```
{facts["training_command"]}
```

Simulated scenes only: no recorded image was used to train, tune or choose. {
        facts["training_steps"]
    } steps; the
moving average of the last weights is shipped, no checkpoint was picked. Every patch has its own
light level, background, read noise (log-normal over pixels with a telegraph tail; in a quarter of
the patches it dominates), electron multiplication (1 in 10), spatial correlation of the noise
(3 in 10, smoothed 0.3 to 0.9 px at equal variance), rounding, clipping, and wrong constants (half
of them: gain and read noise by up to a third).
"""


def _limits(report: Report) -> str:
    high = report["package"]["electron_range"][1]
    return f"""## What it cannot do

- It needs camera constants that are about right; a gain wrong by more than a third is untrained.
- Single frames, one channel, no time: it does not average over frames.
- Noise that does not follow light (processed images) or correlates over more than a pixel is kept
  in part as if it were structure. Fixed pattern is removed by calibration maps, not here.
- Around a bright object on a nearly dark background there is a faint square outline, the window of
  the local mean: 0.1 e (sd) on a background of 1 e beside a disc of 150 e, where one frame's noise
  is 1.4 e. It shows after averaging or a strong stretch of the shadows; the cure is a smoother
  window.
- Structures below the noise are smoothed away, not invented; do not read absence as a finding.
- Above {high:g} electrons it is untrained. From about 10,000 on it can lose to a narrow Gaussian on
  smooth scenes; noise there is rarely what limits an image.
"""
