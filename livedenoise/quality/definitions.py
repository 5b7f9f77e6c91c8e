"""The live quality figures: what each is, where its formula comes from, when not to trust it.

This table is the only place where they are defined: the help page of the dashboard and
docs/quality-figures.md are made from it. ``quality.meter`` computes them under the same keys.
Must not know: how they are computed, drawn or sent.
"""

from __future__ import annotations

import msgspec


class FigureDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """One figure.

    Attributes
    ----------
    key : str
        Its name in ``core.status.QualityStatus.figures``.
    label, unit : str
        For people; ``unit`` is empty for pure numbers.
    decimals : int
        Places after the point that mean something.
    definition : str
        What it is, with its formula, in one paragraph.
    source : str
        Where the formula comes from.
    invalid : str
        What makes it wrong or missing.
    reading : str
        How to read it.
    compares_frames : bool
        It compares different frames: grey it, with the word "motion", while the scene moves.
    needs_constants, needs_denoised : bool
        What it is missing without.
    """

    key: str
    label: str
    unit: str
    decimals: int
    definition: str
    source: str
    invalid: str
    reading: str
    compares_frames: bool = False
    needs_constants: bool = False
    needs_denoised: bool = False


SAMPLING = (
    "A sample is one block of at most 128 x 128 pixels in four successive raw frames t, t+1, t+2, "
    "t+3, and the same block of frame t denoised. The block wanders over the frame from sample to "
    "sample by a low-discrepancy sequence (R2), so that an average covers the whole frame; pixels "
    "within 64 px of the border count down to half as often. Every figure is a moving average over "
    "the last `view.window` samples, and has no value before 20. Mean squares and levels are "
    "averaged first; roots, ratios and logarithms are taken last. Camera constants are used as "
    "scalars (offset, gain, rms read noise), also where a calibration has per-pixel maps. Frames "
    "the denoiser passed through never count as denoised. A new camera epoch or new constants "
    "start every average anew."
)

MOTION = (
    "The scene moves when the raw frames change more than noise can: the linear trend through four "
    "frames has more power than noise gives it (over the block, or in one spot of 8 x 8 px), or "
    "the changes follow the gradient of the picture. Decided without camera constants, so it works "
    "where they are wrong. A global change of brightness (flicker of the lamp, bleaching) is "
    "fitted, taken out, and is no motion. Samples taken during motion stay out of the figures "
    'marked "compares frames", which keep their last value and are shown grey with the word '
    '"motion" until eight calm samples in a row have passed. Noise that successive frames share (a '
    "running average in the camera) looks like motion, and makes the same figures as worthless. A "
    "block smaller than 32 px is taken as still: it says too little."
)

_NO_CONSTANTS = (
    "Missing without camera constants, and where the noise does not follow the signal (an estimate "
    "of the kind `gaussian`): nothing is then meant in electrons."
)
_ESTIMATED_OFFSET = (
    "An estimated offset is the darkest part of the picture: background light then counts as none, "
    "and the figure reads low."
)

_DEFINITIONS = (
    FigureDefinition(
        key="signal_e",
        label="signal",
        unit="e-/px",
        decimals=1,
        definition=(
            "Mean signal of a pixel of the raw frame in electrons: N = (mean count - offset) x "
            "gain, over all pixels of the region, background included, and the four frames."
        ),
        source="Photon transfer: Janesick, Photon Transfer, SPIE 2007; EMVA Standard 1288.",
        invalid=f"{_NO_CONSTANTS} {_ESTIMATED_OFFSET} Saturated pixels pull it down. Motion "
        "does not matter.",
        reading="How much light there is. Under about 10 every frame is a sketch; over 1000 the "
        "raw frame is good by itself. Sparse bright structures hide in this mean: see bright_e.",
        needs_constants=True,
    ),
    FigureDefinition(
        key="bright_e",
        label="bright signal",
        unit="e-/px",
        decimals=1,
        definition=(
            "Mean signal in electrons of the brightest 1 % of the region's pixels. They are chosen "
            "on the denoised frame t and measured on the raw frames t+1 to t+3: pixels chosen and "
            "measured on one noisy frame would be those whose noise happens to be high. A denoiser "
            "that blurs chooses worse pixels and makes it smaller, never larger."
        ),
        source="As signal_e; choice and measurement on independent frames against selection bias.",
        invalid=f"{_NO_CONSTANTS} {_ESTIMATED_OFFSET} Reads low where structures move by more than "
        "their own width in three frames.",
        reading="The light in the structures people look at.",
        needs_constants=True,
        needs_denoised=True,
    ),
    FigureDefinition(
        key="photons",
        label="photons",
        unit="ph/px",
        decimals=1,
        definition="Mean photons that fell on a pixel: signal_e / quantum efficiency.",
        source="EMVA Standard 1288.",
        invalid=f"{_NO_CONSTANTS} Missing where the camera's quantum efficiency is not known; that "
        "is one number, at the wavelength it was given for.",
        reading="For comparison with other cameras and for the dose at the sample.",
        needs_constants=True,
    ),
    FigureDefinition(
        key="snr_db",
        label="raw SNR",
        unit="dB",
        decimals=1,
        definition=(
            "Signal-to-noise ratio of the RAW frame from the camera constants: 20 log10(N / "
            "sqrt(F2 N + r^2)) with N = signal_e, F2 the excess noise factor (1, or 2 for an "
            "EMCCD) and r the rms read noise in electrons. It is that of a pixel of average "
            "brightness: the mean level is known exactly from raw pixels, while a mean of single "
            "pixels' ratios would be biased by the noise in each. The denoised frame does not "
            "enter, so no blur can raise it."
        ),
        source="Shot-noise model: Janesick 2007; excess noise: Robbins & Hadwen, IEEE Trans. "
        "Electron Devices 50, 2003.",
        invalid=f"{_NO_CONSTANTS} Missing where the signal is not above the offset. "
        "Motion does not matter.",
        reading="0 dB: noise as strong as the signal. 10 dB about 10 electrons, 20 dB about 100, "
        "30 dB about 1000. Bright structures do better than this average.",
        needs_constants=True,
    ),
    FigureDefinition(
        key="noise_e",
        label="noise expected",
        unit="e- rms",
        decimals=2,
        definition=(
            "Noise the camera constants give a pixel of the raw frame: sqrt(F2 N + r^2) with N = "
            "signal_e. The variance is linear in the level, so this is the rms over all pixels."
        ),
        source="As snr_db.",
        invalid=f"{_NO_CONSTANTS} Rounding to whole counts (gain / sqrt(12) electrons) is included "
        "where the read noise was measured with it (a calibration), not where it was estimated.",
        reading="What should be there. Compare with noise_measured_e.",
        needs_constants=True,
    ),
    FigureDefinition(
        key="noise_measured_e",
        label="noise measured",
        unit="e- rms",
        decimals=2,
        definition=(
            "Noise of the raw frame found by frame difference: the square root of the variance of "
            "each pixel over the four frames (3 degrees of freedom), mean over the pixels, after "
            "global changes of brightness were taken out; in electrons. Not wavelet-MAD: that sees "
            "only the dark background and reads Poisson noise up to two-fold low."
        ),
        source="Photon transfer from repeated frames: Janesick 2007.",
        invalid=f"{_NO_CONSTANTS} Motion, blinking and drift read as noise.",
        reading="What is there.",
        compares_frames=True,
        needs_constants=True,
    ),
    FigureDefinition(
        key="noise_ratio",
        label="noise ratio",
        unit="",
        decimals=2,
        definition=(
            "noise_measured_e over the noise expected for the same samples: "
            "sqrt(measured variance / (F2 N + r^2))."
        ),
        source="Photon transfer: Janesick 2007.",
        invalid=f"{_NO_CONSTANTS} Motion and blinking raise it; saturated pixels, which have no "
        "noise, lower it.",
        reading="1: the constants are right and nothing moves. 1.1 or 0.9: the gain is off by "
        "about 20 %, or the camera filters its images. Far from 1, trust nothing in electrons.",
        compares_frames=True,
        needs_constants=True,
    ),
    FigureDefinition(
        key="gain_db",
        label="denoiser gain",
        unit="dB",
        decimals=1,
        definition=(
            "How much nearer to the truth the denoised frame is than the raw one: 10 log10(raw MSE "
            "/ denoised MSE). The MSE of an image f of frame t, raw or denoised, is taken from the "
            "frames that follow: mean[(a - f)(b - f)], averaged over the pairs a, b of frames t+1, "
            "t+2, t+3. Their noise is independent of f and of each other, so it averages to zero, "
            "and what is left is the squared distance from f to the noise-free picture. No "
            "estimate of the noise is subtracted."
        ),
        source="The idea of uMSE, Marcos-Morales et al., ICML 2023, in its two-copy form.",
        invalid="Motion: the following frames then show something else. Fixed pattern: a "
        "calibrated denoiser removes it, the following frames keep it, and the gain reads lower "
        "than it is. No value where the denoised MSE is not positive: too small to measure.",
        reading="0: nothing gained (a copy of the raw frame). Positive: better than the raw frame. "
        "Structure that is blurred away is distance from the truth, so a denoiser that blurs loses "
        "here, down to negative values.",
        compares_frames=True,
        needs_denoised=True,
    ),
    FigureDefinition(
        key="upsnr_db",
        label="uPSNR denoised",
        unit="dB",
        decimals=1,
        definition=(
            "Unsupervised peak signal-to-noise ratio of the denoised frame: 10 log10(R^2 / "
            "denoised MSE), the MSE as for gain_db, R the highest count of the bit depth (65535 "
            "for 16 bits)."
        ),
        source="Marcos-Morales et al., ICML 2023.",
        invalid="As gain_db. Missing for float32 frames, which have no highest count. R is the "
        "range of the numbers, not of the picture: compare only within one camera mode and one "
        "brightness.",
        reading="For comparing settings of the denoiser on one scene; otherwise read gain_db.",
        compares_frames=True,
        needs_denoised=True,
    ),
    FigureDefinition(
        key="variance_ratio",
        label="variance ratio",
        unit="",
        decimals=2,
        definition=(
            "Power of what the denoiser took away over the noise expected: mean[(y - f)^2 / "
            "var(f)] with y the raw and f the denoised frame t, var(f) = (F2 e(f) + r^2) / gain^2."
        ),
        source="Residual analysis of a calibrated noise model; docs/units-and-noise.md.",
        invalid=f"{_NO_CONSTANTS} Wrong constants move it as they move noise_ratio. "
        "Motion does not matter: y and f are one frame.",
        reading="About 1, or a little less: noise was removed. Well below 1: noise was left in (0 "
        "for a copy). Above 1: signal was removed with it.",
        needs_constants=True,
        needs_denoised=True,
    ),
    FigureDefinition(
        key="residual_corr",
        label="residual correlation",
        unit="",
        decimals=3,
        definition=(
            "Lag-1 autocorrelation of the residual y - f (mean of x and y direction), less that of "
            "the camera's own noise, measured in the same way on the difference of two raw frames. "
            "Both are divided by the expected noise of each pixel where the constants are known."
        ),
        source="Whiteness of the residual: Almeida & Figueiredo, IEEE Trans. Image Process. 22, "
        "2013.",
        invalid="Motion, through the camera's part.",
        reading="About 0, or a little below: what was removed is noise (some of which stays in f). "
        "Above about 0.02: structure was removed too.",
        compares_frames=True,
        needs_denoised=True,
    ),
    FigureDefinition(
        key="saturated_fraction",
        label="saturated pixels",
        unit="",
        decimals=6,
        definition="Part of the raw pixels that stand at the highest count of the bit depth.",
        source="Counted.",
        invalid="Missing for float32 frames. A camera that saturates below its bit depth (full "
        "well before converter) shows 0. Counted in the wandering block: single hot pixels of a "
        "large frame take some samples to be met.",
        reading="0 is right. Saturated pixels have lost their signal and their noise.",
    ),
    FigureDefinition(
        key="zero_fraction",
        label="pixels at zero",
        unit="",
        decimals=6,
        definition="Part of the raw pixels that read 0 counts.",
        source="Counted.",
        invalid="Motion does not matter.",
        reading="0 is right. Pixels at zero have had their noise cut off: the offset is too low, "
        "or the camera subtracts a background. Mean levels then read too high.",
    ),
)

FIGURES: dict[str, FigureDefinition] = {one.key: one for one in _DEFINITIONS}
"""Every figure by key, in the order to show them."""
