"""The lines of a data set's manifest: one for the data set, one for every attempt at a field.

Knows: the form, and how it grows: new fields last, with a default. Must not know: how it is
written, or how pairs are checked.

``manifest.jsonl`` begins with one ``DatasetHeader``; then one ``FieldRecord`` for each attempt,
written when its files are complete on disk. A field whose last record has ``status`` ``done`` or
``failed`` is not taken again.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from livedenoise.collect.shots import Shot, Site
from livedenoise.collect.verdict import PairVerdict
from livedenoise.core.constants import ConstantsSource
from livedenoise.core.microscope import Position

MANIFEST_NAME = "manifest.jsonl"
FORMAT = "livedenoise-pairs"
FORMAT_VERSION = 1

Split = Literal["train", "val", "test"]


class ShotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One stored image: what was commanded, what was measured, where it lies.

    ``series`` is the number of the image in the OME-TIFF file, ``exposure_us`` what the camera
    said. ``started_s`` and ``ended_s`` count from the first exposure of the attempt.
    ``saturated_fraction`` and ``zero_fraction`` are over all its frames. ``kept_frames`` is
    how many of its single frames are stored too, in the series right after its own.
    """

    shot: Shot
    series: int
    exposure_us: int
    mean_adu: float
    saturated_fraction: float = 0.0
    zero_fraction: float = 0.0
    started_s: float = 0.0
    ended_s: float = 0.0
    z_um: float | None = None
    kept_frames: int = 0


class PairRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of an attempt. ``low``, ``high``, ``after`` are numbers into ``SiteRecord.shots``.

    ``after`` is -1 for none.
    """

    name: str
    low: int
    high: int
    after: int = -1
    verdict: PairVerdict


class SiteRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One channel and z of a field: its images and its pairs."""

    site: Site
    shots: tuple[ShotRecord, ...]
    pairs: tuple[PairRecord, ...]


class FieldRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a field.

    Attributes
    ----------
    field : int
        Number of the field in the plan.
    attempt : int
        0 for the first.
    status : str
        ``done``: at least one pair was accepted, and those are in the data set; ``retry``: none
        was, and the field is taken again; ``failed``: none was, and it is not taken again.
    split : str
        Which part of the data set the field belongs to: the same for every pair of a field.
    file : str
        OME-TIFF with the accepted pairs, relative to the data set; "" when there is none. Only a
        field that is ``done`` has one: of a field that is not, nothing is in the data set.
    rejected_file : str
        OME-TIFF with the rejected pairs, "" when there is none.
    sha256, sizes : dict
        Of each file: its hash, and its bytes.
    sites : tuple of SiteRecord
        What was taken; ``series`` of a shot refers to ``file`` for a shot of an accepted pair, to
        ``rejected_file`` for one that only rejected pairs use. A shot that both use is in both
        files, and ``rejected_series`` says where in the second.
    rejected_series : dict
        "site index/shot number" to series in ``rejected_file``.
    dose_us : float
        Light dose of this attempt: exposure x light x frames, autofocus not counted. An attempt
        that an error or a kill broke off has no record at all.
    elapsed_s, overhead_s : float
        Time from arriving to stored; that time less exposures, stage and settling.
    """

    field: int
    attempt: int
    status: Literal["done", "retry", "failed"]
    split: Split
    file: str = ""
    rejected_file: str = ""
    sha256: dict[str, str] = {}
    sites: tuple[SiteRecord, ...] = ()
    rejected_series: dict[str, int] = {}
    dose_us: float = 0.0
    taken_at: str = ""
    elapsed_s: float = 0.0
    overhead_s: float = 0.0
    sizes: dict[str, int] = {}


class DatasetHeader(msgspec.Struct, frozen=True, kw_only=True):
    """First line of the manifest: what every field of the data set shares.

    ``plan_hash`` is of the plan's meaning, not its text; ``program_hash`` of what came of it at
    this microscope: places, exposures, limits ("" in data sets that were begun before there was
    one). ``--resume`` refuses others. ``scout_dose_us`` is the light dose of the frames a gain was
    estimated from, which are in no record.
    ``constants_source`` is as in ``core.constants``. ``darks`` are files in ``dark/`` by exposure
    in microseconds. ``sha256`` and ``sizes`` are of these and of the plan. ``start`` is where the
    stage stood at the beginning: relative grids lie around it, also when the run is resumed.
    """

    format: str = FORMAT
    version: int = FORMAT_VERSION
    livedenoise: str = ""
    created_at: str = ""
    plan_name: str = ""
    plan_hash: str = ""
    n_fields: int = 0
    camera: str = ""
    simulated: bool = False
    shape: tuple[int, int] = (0, 0)
    roi: tuple[int, int, int, int] = (0, 0, 0, 0)
    binning: int = 1
    dtype: str = "<u2"
    bit_depth: int = 16
    pixel_size_um: float = 0.0
    gain_e_per_adu: float = 1.0
    offset_adu: float = 0.0
    read_noise_e: float = 0.0
    excess_noise_factor: float = 1.0
    constants_source: ConstantsSource = "manual"
    calibration: str = ""
    darks: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    sha256: dict[str, str] = {}
    sizes: dict[str, int] = {}
    constants_model: Literal["poisson_gaussian", "gaussian"] = "poisson_gaussian"
    start: Position = Position()
    program_hash: str = ""
    scout_dose_us: float = 0.0
