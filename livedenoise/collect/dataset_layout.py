"""Names in a data set: folders, files, images, and the text that explains them.

Knows: what things are called. Must not know: how anything is written or read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from livedenoise.collect.records import MANIFEST_NAME
from livedenoise.collect.shots import Shot, Site

PLAN_NAME = "plan.toml"
README_NAME = "README.txt"
FIELDS_FOLDER = "fields"
REJECTED_FOLDER = "rejected"
DARK_FOLDER = "dark"
REPORT_FOLDER = "report"
TEMPORARY_SUFFIX = ".partial"

_FIELD_FILE = re.compile(r"field_[0-9]{4,}(_attempt[0-9]+)?\.ome\.tif")
_DARK_FILE = re.compile(r"dark_[0-9]+us\.tif")

README = f"""\
livedenoise data set: the same fields of a fixed specimen, at low and at high exposure.
{MANIFEST_NAME}  line 1 the camera and the plan; then one line for each attempt at a field
{PLAN_NAME}       the plan as it was written
{FIELDS_FOLDER}/         accepted pairs: one OME-TIFF for each field, images named in it
{REJECTED_FOLDER}/       what was rejected; the reasons stand in the manifest
{DARK_FOLDER}/           mean (page 1) and variance (page 2) of dark frames
report.html       and {REPORT_FOLDER}/: what came of it, where a report was made
Single frames are the camera's counts, unchanged; averages are their mean in float32.
Check that everything is intact:   livedenoise dataset FOLDER --verify
Make low/ and GT/ folders of TIFF: livedenoise export-pairs FOLDER --out PAIRS
"""


def field_path(field: int) -> str:
    """Return where the accepted pairs of a field lie, relative to the data set."""
    return f"{FIELDS_FOLDER}/field_{field:04d}.ome.tif"


def rejected_path(field: int, attempt: int) -> str:
    """Return where the rejected pairs of an attempt lie, relative to the data set."""
    return f"{REJECTED_FOLDER}/field_{field:04d}_attempt{attempt}.ome.tif"


def dark_path(exposure_us: int) -> str:
    """Return where the dark frames of an exposure lie, relative to the data set."""
    return f"{DARK_FOLDER}/dark_{exposure_us}us.tif"


def is_ours(name: str) -> bool:
    """Return whether a file of this name in a folder of images can only be ours.

    What is ours and has no line in the manifest may be removed; anything else is left alone.
    """
    if name.startswith(".") and name.endswith(TEMPORARY_SUFFIX):
        name = name[1 : -len(TEMPORARY_SUFFIX)]
    return bool(_FIELD_FILE.fullmatch(name) or _DARK_FILE.fullmatch(name))


def site_labels(sites: Sequence[Site]) -> list[str]:
    """Return ``c0z0``, ``c0z1`` ...: channels in the order they appear, z within each."""
    channels: dict[str, int] = {}
    labels = []
    for site in sites:
        z = channels.get(site.channel, -1) + 1
        channels[site.channel] = z
        labels.append(f"c{list(channels).index(site.channel)}z{z}")
    return labels


def image_name(label: str, shot: Shot) -> str:
    """Return the name of a shot's image, unique in its file.

    ``c0z0-level1-repeat0-low``, ``...-low-after``; ``c0z0-repeat0-high``, which all levels share.
    """
    level = f"level{shot.level}-" if shot.role == "low" else ""
    part = f"-{shot.part}" if shot.part else ""
    return f"{label}-{level}repeat{shot.repeat}-{shot.role}{part}"
