"""Which image of a field goes into which file, and what its record says.

Knows: shots, pairs, verdicts, the two files of an attempt. Must not know: how files are written.

Of a field that is ``done`` the accepted pairs go into its file and the rejected ones into the
other; a shot that both use (the high one of a ladder) goes into both. Of a field that is not, all
go into the rejected file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from livedenoise.collect.dataset_layout import image_name, site_labels
from livedenoise.collect.field_file import StoredImage
from livedenoise.collect.records import DatasetHeader, PairRecord, ShotRecord, SiteRecord
from livedenoise.collect.shots import Image, Pair, Shot, Site, Taken
from livedenoise.collect.verdict import PairVerdict
from livedenoise.core.errors import RecordError


class SiteTaken(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken at one site, and what the checks say of its pairs.

    The shots of ``pairs`` are those of ``taken``: the same objects.
    """

    site: Site
    taken: tuple[Taken, ...]
    pairs: tuple[tuple[Pair, PairVerdict], ...]


class Arranged(msgspec.Struct, kw_only=True):
    """The images of both files of an attempt, and the records that point into them."""

    accepted: list[StoredImage] = []
    rejected: list[StoredImage] = []
    sites: list[SiteRecord] = []
    rejected_series: dict[str, int] = {}


def arrange(sites: Sequence[SiteTaken], header: DatasetHeader, *, is_done: bool) -> Arranged:
    """Sort the images of an attempt into its two files.

    Raises
    ------
    RecordError
        If an image has not the size or pixel type of the data set.
    ValueError
        If the field is done without an accepted pair, or a pair has a shot that was not taken.
    """
    if is_done and not any(verdict.accepted for one in sites for _, verdict in one.pairs):
        raise ValueError("a field without an accepted pair is not done")
    start_ns = min((taken.started_ns for one in sites for taken in one.taken), default=0)
    found = Arranged()
    labels = site_labels([one.site for one in sites])
    for index, (one, label) in enumerate(zip(sites, labels, strict=True)):
        in_accepted, in_rejected = _sorted_out(one, is_done=is_done)
        shots = []
        for number, taken in enumerate(one.taken):
            images = list(_images(one.site, label, taken, header))
            series = -1
            if number in in_rejected:
                series = found.rejected_series[f"{index}/{number}"] = len(found.rejected)
                found.rejected += images
            if number in in_accepted:
                series = len(found.accepted)
                found.accepted += images
            shots.append(_shot_record(taken, series, start_ns))
        pairs = tuple(_pair_record(one, pair, verdict) for pair, verdict in one.pairs)
        found.sites.append(SiteRecord(site=one.site, shots=tuple(shots), pairs=pairs))
    return found


def _sorted_out(one: SiteTaken, *, is_done: bool) -> tuple[set[int], set[int]]:
    """Return the numbers of the shots in the field's file and of those in the rejected file."""
    everything = set(range(len(one.taken)))
    if not is_done:
        return set(), everything
    rejected = _shots_of(one, accepted=False)
    # A shot of no pair stays with the field.
    return _shots_of(one, accepted=True) | (everything - rejected), rejected


def _shots_of(one: SiteTaken, *, accepted: bool) -> set[int]:
    chosen = [pair for pair, verdict in one.pairs if verdict.accepted == accepted]
    shots = [shot for pair in chosen for shot in (pair.low, pair.high, pair.after)]
    return {_number(one, shot) for shot in shots if shot is not None}


def _pair_record(one: SiteTaken, pair: Pair, verdict: PairVerdict) -> PairRecord:
    return PairRecord(
        name=pair.name,
        low=_number(one, pair.low),
        high=_number(one, pair.high),
        after=-1 if pair.after is None else _number(one, pair.after),
        verdict=verdict,
    )


def _number(one: SiteTaken, wanted: Taken) -> int:
    for number, taken in enumerate(one.taken):
        if taken is wanted:
            return number
    raise ValueError(f"a pair of site {one.site.index} has a shot that was not taken there")


def _shot_record(taken: Taken, series: int, start_ns: int) -> ShotRecord:
    means = taken.frame_means_adu
    mean_adu = sum(means) / len(means) if means else float(taken.image.mean(dtype=np.float64))
    return ShotRecord(
        shot=taken.shot,
        series=series,
        exposure_us=taken.exposure_us,
        mean_adu=mean_adu,
        saturated_fraction=taken.saturated_fraction,
        zero_fraction=taken.zero_fraction,
        started_s=(taken.started_ns - start_ns) * 1e-9,
        ended_s=(taken.ended_ns - start_ns) * 1e-9,
        z_um=taken.z_um,
        kept_frames=len(taken.frames),
    )


def _images(site: Site, label: str, taken: Taken, header: DatasetHeader) -> Iterator[StoredImage]:
    """Yield the image of a shot and the single frames kept of it."""
    name = image_name(label, taken.shot)
    yield _image(name, taken.image, site, taken, header)
    for number, frame in enumerate(taken.frames):
        yield _image(f"{name}-frame{number}", frame, site, taken, header)


def _image(name: str, image: Image, site: Site, taken: Taken, header: DatasetHeader) -> StoredImage:
    is_mean = image is taken.image and taken.shot.frames > 1
    _require_fit(name, image, "<f4" if is_mean else header.dtype, header.shape)
    return StoredImage(
        name=name,
        image=image,
        description=_description(taken.shot, is_mean=is_mean),
        channel=site.channel,
        exposure_us=taken.shot.exposure_us,
        x_um=site.x_um,
        y_um=site.y_um,
        z_um=site.z_um if taken.z_um is None else taken.z_um,
        pixel_size_um=header.pixel_size_um,
        significant_bits=0 if is_mean else header.bit_depth,
    )


def _require_fit(name: str, image: Image, dtype: str, shape: tuple[int, int]) -> None:
    if image.shape != shape:
        raise RecordError(
            f"{name}: the image is {image.shape}, the data set {shape} (Y, X)",
            "leave region and binning alone during a collection",
        )
    if image.dtype.newbyteorder("<").str != dtype:
        raise RecordError(
            f"{name}: the image is {image.dtype.str}, the data set {dtype}",
            "leave the camera's pixel type alone during a collection",
        )


def _description(shot: Shot, *, is_mean: bool) -> str:
    frames = f"mean of {shot.frames} frames" if is_mean else "counts of one frame"
    return f"{shot.role}, {shot.exposure_us} us a frame, light {shot.light:g}, {frames}"
