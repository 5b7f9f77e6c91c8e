"""Judge a model package and write its card: README.md in the package, JSON in docs/benchmarks.

    python tools/model_card.py --fmd ../shared/data/fmd_confocal_bpae_b_fov1

Simulated held-out scenes (own seeds, never trained on) and one real field are reported apart. The
Gaussian is tuned by oracle, image by image, so that the baseline is as strong as a Gaussian can be.
Nothing is selected here: the package is judged as it is.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from card_markdown import write_card
from card_pictures import FMD_NOTICE, write_panel
from rich.console import Console
from rich.progress import track
from skimage.metrics import structural_similarity

from livedenoise.core.constants import CameraConstants
from livedenoise.engines.package import ModelPackage, read_package
from livedenoise.imaging.classical import gat_forward, gat_inverse, gat_nlm, tuned_gaussian
from livedenoise.imaging.noise_fit import fit_constants
from livedenoise.imaging.scenes import SceneKind, render_scene
from livedenoise.imaging.transforms import CountsTransform, quantise

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "livedenoise" / "models" / "realtime-m"
BENCHMARKS = ROOT / "docs" / "benchmarks"
IMAGES = ROOT / "docs" / "images"

HELD_OUT_SEED = 20261121
"""Training scenes are seeded by (seed, index) with small seeds; these never meet them."""
SCENE_PX = 256
KINDS: tuple[SceneKind, ...] = ("tubules", "granules", "cells", "mixed")
PSFS_PX = (0.8, 1.2, 2.0)
LEVELS = (
    (0.3, 0.5),
    (1.0, 0.5),
    (3.0, 1.0),
    (10.0, 1.4),
    (30.0, 1.4),
    (100.0, 1.4),
    (300.0, 1.4),
    (1000.0, 1.4),
    (3000.0, 1.4),
    (20000.0, 1.4),
    (3.0, 4.0),
    (20.0, 9.0),
)
"""Electrons at the brightest 1 %, read noise in electrons; in the last two read noise dominates."""
GAIN_E_PER_ADU, OFFSET_ADU = 0.25, 100.0
SIGMAS_PX = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1, 1.3, 1.6, 2, 2.5, 3, 4, 5, 6, 8, 10, 14)
PHOTOMETRY_LEVELS_E = (2.0, 10.0, 100.0, 1000.0)
ROUNDS = 8
"""Rounds of 50 timed frames; the quietest round counts, since others may use the machine."""
FMD_FRAMES = tuple(range(0, 50, 5))

Image = npt.NDArray[np.float64]
Denoise = Callable[[Image, CameraConstants], Image]
console = Console()


class Model:
    """The package's ONNX in OpenVINO, single precision, on whole frames padded to its stride."""

    def __init__(self, package: ModelPackage) -> None:
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self.stride = package.stride
        self.compiled = openvino.Core().compile_model(package.onnx_path, "CPU", settings)

    def __call__(self, counts: Image, constants: CameraConstants) -> Image:
        """Return denoised counts, not rounded."""
        transform = CountsTransform(constants)
        rows, columns = counts.shape
        pad = [(0, -size % step) for size, step in zip(counts.shape, self.stride, strict=True)]
        u = transform.to_network(np.pad(counts, pad, mode="reflect").astype(np.float32))
        result = self.compiled(u[None, None])[0][0, 0, :rows, :columns]
        return transform.to_counts(np.ascontiguousarray(result)).astype(np.float64)


def psnr(image: Image, truth: Image, data_range: float) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    return float(10 * np.log10(data_range**2 / np.mean((image - truth) ** 2)))


def measure(image: Image, counts: Image, truth: Image, offset: float, span: float) -> list[float]:
    """Return PSNR, SSIM (7 x 7 uniform window) and the ratio of offset-subtracted means."""
    ssim = structural_similarity(truth, image, data_range=span)
    return [
        psnr(image, truth, span),
        float(ssim),
        (image.mean() - offset) / (counts.mean() - offset),
    ]


def gat_bm3d(counts: Image, constants: CameraConstants) -> Image:
    """Return BM3D after the generalised Anscombe transform (needs the package ``bm3d``)."""
    import bm3d

    electrons = (counts - constants.offset_adu) * constants.gain_e_per_adu
    smooth = bm3d.bm3d(gat_forward(electrons, constants.read_noise_e), sigma_psd=1.0)
    restored = gat_inverse(smooth, constants.read_noise_e).astype(np.float64)
    return restored / constants.gain_e_per_adu + constants.offset_adu


def compare(
    counts: Image,
    truth: Image,
    constants: CameraConstants,
    methods: dict[str, Denoise],
    span: float,
) -> tuple[dict[str, list[float]], dict[str, Image], float]:
    """Measure raw, tuned Gaussian and every method on one image."""
    blurred, sigma = tuned_gaussian(counts, truth, SIGMAS_PX)
    images = {"raw": counts, "Gaussian": blurred}
    images |= {name: method(counts, constants) for name, method in methods.items()}
    offset = constants.offset_adu
    scores = {k: measure(v, counts, truth, offset, span) for k, v in images.items()}
    return scores, images, sigma


# ---------------------------------------------------------------- simulated scenes


def held_out(
    kind_index: int, psf_index: int, peak_e: float, read_noise_e: float
) -> tuple[Image, Image]:
    """Return (counts, true mean counts) of one held-out scene; counts are whole numbers."""
    rng = np.random.default_rng((HELD_OUT_SEED, kind_index, psf_index))
    shape = (SCENE_PX, SCENE_PX)
    scene = render_scene(KINDS[kind_index], shape, rng, psf_sigma_px=PSFS_PX[psf_index])
    electrons = scene.astype(np.float64) * peak_e
    noisy = rng.poisson(electrons) + rng.normal(0, read_noise_e, shape)
    return np.rint(noisy / GAIN_E_PER_ADU + OFFSET_ADU), electrons / GAIN_E_PER_ADU + OFFSET_ADU


def constants_of(read_noise_e: float) -> CameraConstants:
    """Return the exact constants of the held-out camera."""
    return CameraConstants(
        gain_e_per_adu=GAIN_E_PER_ADU, offset_adu=OFFSET_ADU, read_noise_e=read_noise_e
    )


def judge_level(
    peak_e: float,
    read_noise_e: float,
    methods: dict[str, Denoise],
    psf_indices: Sequence[int] = range(len(PSFS_PX)),
) -> dict[str, Any]:
    """Return mean scores of every method over held-out scenes of every kind at one level."""
    scores: dict[str, list[list[float]]] = {}
    for kind in range(len(KINDS)):
        for psf in psf_indices:
            counts, truth = held_out(kind, psf, peak_e, read_noise_e)
            span = float(np.ptp(truth))
            constants = constants_of(read_noise_e)
            for name, values in compare(counts, truth, constants, methods, span)[0].items():
                scores.setdefault(name, []).append(values)
    return {
        "peak_e": peak_e,
        "read_noise_e": read_noise_e,
        "images": len(KINDS) * len(psf_indices),
        "scores": {name: summarise(values) for name, values in scores.items()},
        "wins_over_gaussian": wins(scores["model"], scores["Gaussian"]),
    }


def summarise(values: list[list[float]]) -> dict[str, float]:
    """Return mean PSNR and SSIM, and the bias furthest from 1 of any image."""
    table = np.array(values)
    worst = table[np.argmax(np.abs(table[:, 2] - 1)), 2]
    mean_psnr, mean_ssim, mean_bias = table.mean(axis=0)
    return {"psnr": mean_psnr, "ssim": mean_ssim, "bias": mean_bias, "worst_bias": float(worst)}


def wins(first: list[list[float]], second: list[list[float]]) -> int:
    """Return on how many images the first method has the higher PSNR."""
    return sum(a[0] > b[0] for a, b in zip(first, second, strict=True))


def judge_photometry(model: Model) -> list[dict[str, float]]:
    """Return mean out / mean in after rounding, for mixed scenes of a given MEAN level."""
    rows = []
    for level in PHOTOMETRY_LEVELS_E:
        for bits, dtype in ((8, "|u1"), (16, "<u2")):
            rng = np.random.default_rng((HELD_OUT_SEED, round(level), bits))
            scene = render_scene("mixed", (512, 512), rng).astype(np.float64)
            electrons = scene * level / scene.mean()
            gain = max(0.05, electrons.max() / 200) if bits == 8 else GAIN_E_PER_ADU
            constants = CameraConstants(gain_e_per_adu=gain, offset_adu=20.0, read_noise_e=1.4)
            noisy = rng.poisson(electrons) + rng.normal(0, 1.4, electrons.shape)
            counts, _ = quantise((noisy / gain + 20).astype(np.float32), dtype, bits)
            result, clipped = quantise(model(counts, constants).astype(np.float32), dtype, bits)
            ratio = (result.mean(dtype=np.float64) - 20) / (counts.mean(dtype=np.float64) - 20)
            rows.append({"mean_e": level, "bits": bits, "ratio": float(ratio), "clipped": clipped})
    return rows


# ---------------------------------------------------------------- the real field


def judge_fmd(folder: Path, methods: dict[str, Denoise]) -> tuple[dict[str, Any], dict[str, Image]]:
    """Return scores on repeats of a real field against their 50-frame mean, and one picture."""
    import tifffile

    frames = tifffile.imread(folder / "raw.tif")
    truth = tifffile.imread(folder / "gt.tif").astype(np.float64)
    constants = fit_constants(frames[:16], bit_depth=8)
    scores: dict[str, list[list[float]]] = {}
    picture: dict[str, Image] = {}
    for index in FMD_FRAMES:
        counts = frames[index].astype(np.float64)
        values, images, _ = compare(counts, truth, constants, methods, 255.0)
        picture = picture or images | {"50-frame mean": truth}
        for name, one in values.items():
            scores.setdefault(name, []).append(one)
    return {
        "frames": list(FMD_FRAMES),
        "data_range": 255,
        "constants": {
            "gain_e_per_adu": constants.gain_e_per_adu,
            "offset_adu": constants.offset_adu,
            "read_noise_e": constants.read_noise_e,
            "model": constants.model,
            "source": constants.source,
            "note": constants.note,
        },
        "scores": {name: summarise(values) for name, values in scores.items()},
        "wins_over_gaussian": wins(scores["model"], scores["Gaussian"]),
    }, picture


# ---------------------------------------------------------------- speed


def time_openvino(package: ModelPackage, threads: int) -> dict[str, float]:
    """Return milliseconds per 512 x 512 frame: fixed shape, latency hint, single precision."""
    import openvino

    core = openvino.Core()
    network = core.read_model(package.onnx_path)
    network.reshape([1, 1, 512, 512])
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    image = np.random.default_rng(0).poisson(20, (1, 1, 512, 512)).astype(np.float32)
    rounds = [_time_round(request, image) for _ in range(ROUNDS)]
    p50, p99 = min(rounds)
    return {"threads": threads, "p50_ms": p50, "p99_ms": p99}


def _time_round(request: Any, image: npt.NDArray[np.float32]) -> tuple[float, float]:  # noqa: ANN401
    durations = []
    for _ in range(60):
        start = time.perf_counter()
        request.infer([image])
        durations.append(1e3 * (time.perf_counter() - start))
    p50, p99 = np.percentile(durations[10:], (50, 99))
    return float(p50), float(p99)


def machine() -> dict[str, str]:
    """Return what the figures were measured on."""
    import openvino

    cpu = (
        [
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        if Path("/proc/cpuinfo").exists()
        else [platform.processor()]
    )
    return {
        "cpu": f"{cpu[0]}, {len(cpu)} logical processors",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "openvino": openvino.__version__,
    }


# ---------------------------------------------------------------- pictures


def picture_simulated(methods: dict[str, Denoise]) -> None:
    """Write panels of held-out scenes at a few levels."""
    for kind, psf, peak, read in (
        (3, 1, 3.0, 1.0),
        (0, 1, 10.0, 1.4),
        (2, 0, 30.0, 1.4),
        (1, 1, 20.0, 9.0),
    ):
        counts, truth = held_out(kind, psf, peak, read)
        images = compare(counts, truth, constants_of(read), methods, float(np.ptp(truth)))[1]
        part = {k: v[48:208, 48:208] for k, v in (images | {"truth": truth}).items()}
        limits = (float(np.quantile(truth, 0.01)) - 2, float(np.quantile(truth, 0.999)))
        path = IMAGES / "model-realtime-m" / f"{KINDS[kind]}_{peak:g}e_read{read:g}.png"
        write_panel(path, part, limits)


def picture_fmd(images: dict[str, Image]) -> None:
    """Write a crop of the real field beside its licence notice."""
    part = {name: image[310:470, 215:375] for name, image in images.items()}
    limits = (2.0, float(np.quantile(part["50-frame mean"], 0.998)))
    path = IMAGES / "fmd" / "realtime-m_confocal_bpae_b.png"
    write_panel(path, part, limits)
    (path.parent / "NOTICE").write_text(FMD_NOTICE, encoding="utf-8")


# ---------------------------------------------------------------- the card


def package_facts(package: ModelPackage) -> dict[str, Any]:
    """Return what the card says of the package."""
    section = package.rdf["config"]["livedenoise"]
    return section | {
        "name": package.name,
        "description": package.rdf["description"],
        "sha256": package.sha256,
        "onnx_bytes": package.onnx_path.stat().st_size,
    }


def parse_arguments() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", type=Path, default=PACKAGE)
    parser.add_argument("--fmd", type=Path, help="folder with raw.tif and gt.tif of the real field")
    parser.add_argument("--bm3d", action="store_true", help="a second table with BM3D (slow)")
    parser.add_argument("--words-only", action="store_true", help="write the card from the JSON")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    return parser.parse_args()


def main() -> None:
    """Measure, write, print."""
    options = parse_arguments()
    report_path = BENCHMARKS / "model-realtime-m.json"
    if not options.words_only:
        text = json.dumps(judge(options), indent=1) + "\n"
        BENCHMARKS.mkdir(parents=True, exist_ok=True)
        report_path.write_text(text, encoding="utf-8")
    pictures = sorted(IMAGES.glob("*/*realtime-m*.png")) + sorted(IMAGES.glob("*realtime-m/*.png"))
    card = write_card(json.loads(report_path.read_text("utf-8")), pictures, options.package, ROOT)
    (options.package / "README.md").write_text(card, encoding="utf-8")
    print(card)


def judge(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything the card says; write the pictures."""
    package = read_package(options.package)
    model = Model(package)
    methods: dict[str, Denoise] = {"NLM": gat_nlm, "model": model}
    with_bm3d: dict[str, Denoise] = {"BM3D": gat_bm3d} | methods
    report: dict[str, Any] = {
        "package": package_facts(package),
        "machine": machine(),
        "gain_e_per_adu": GAIN_E_PER_ADU,
        "speed_rounds": ROUNDS,
        "speed": [time_openvino(package, threads) for threads in options.threads],
        "photometry": judge_photometry(model),
        "simulated": [
            judge_level(peak, read, methods)
            for peak, read in track(LEVELS, "levels", console=console)
        ],
    }
    if options.bm3d:
        report["simulated_bm3d"] = [
            judge_level(peak, read, with_bm3d, (1,))
            for peak, read in track(LEVELS, "levels with BM3D", console=console)
        ]
    picture_simulated(methods)
    if options.fmd is not None:
        fmd_methods = with_bm3d if options.bm3d else methods
        report["fmd"], images = judge_fmd(options.fmd, fmd_methods)
        picture_fmd(images)
    return report


if __name__ == "__main__":
    main()
