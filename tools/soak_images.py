"""Whether the pixels of a recording are whole images, and the right ones.

Knows: which images a simulated camera repeats, which frames must be equal. Must not know: numbers,
gaps, summaries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from soak_recording import Recording, part_path

from livedenoise.acquire.cameras import stream_request
from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.config import Config
from livedenoise.core.frame import FrameFlags, frame_nbytes
from livedenoise.testing.simulated_runs import Slots, run_camera

_NAMED = 5
"""Numbers named in one message: a broken run has thousands."""


class Images(NamedTuple):
    """How many different images a stream has, and what is wrong with them."""

    different: int
    problems: list[str]


def check_images(config: Config, recordings: Mapping[str, Recording]) -> dict[str, Images]:
    """Check the pixels of every stream against the camera and against each other."""
    images = {stream: digests(recording) for stream, recording in recordings.items()}
    wrong: dict[str, list[str]] = {stream: [] for stream in images}
    for stream, found in images.items():
        cut = [seq for seq, digest in found.items() if not digest]
        wrong[stream] += _named("frames whose pixels are not in their part file", cut)
    raw, pool = images.get("raw", {}), camera_images(config)
    if pool is not None and "raw" in images:
        foreign = [seq for seq, digest in raw.items() if digest and digest not in pool]
        wrong["raw"] += _named("frames are no image of the camera", foreign)
    if "clean" in recordings:
        same = _must_equal_raw(recordings["clean"], identity=config.denoise.engine == "identity")
        unlike = [seq for seq in same if seq in raw and raw[seq] != images["clean"][seq]]
        wrong["clean"] += _named("frames differ from the raw frames of their numbers", unlike)
    return {s: Images(len(set(found.values())), wrong[s]) for s, found in images.items()}


def digests(recording: Recording) -> dict[int, bytes]:
    """Return a digest of the pixels of each frame by its number, read where its line says.

    A frame whose pixels are not all there has the digest ``b""``.
    """
    sizes = {line["epoch"]: _nbytes(line) for line in recording.lines if line["kind"] == "epoch"}
    found: dict[int, bytes] = {}
    by_part: dict[int, list[dict[str, Any]]] = {}
    for line in recording.frames:
        by_part.setdefault(line["part"], []).append(line)
    for part, lines in by_part.items():
        path = part_path(recording.folder, part)
        if not path.is_file():
            found |= {line["seq"]: b"" for line in lines}
            continue
        with path.open("rb") as file:
            for line in lines:
                size = sizes.get(line["epoch"], 0)
                file.seek(line["offset"])
                pixels = file.read(size)
                whole = size and len(pixels) == size
                found[line["seq"]] = _digest(pixels) if whole else b""
    return found


def camera_images(config: Config) -> frozenset[bytes] | None:
    """Return the digests of all images a simulated camera repeats; None when it repeats none."""
    camera = config.camera[0]
    if not isinstance(camera, SimulatedCameraConfig) or not camera.pool_frames:
        return None
    slots = Slots()
    request = msgspec.structs.asdict(stream_request(camera, camera.pool_frames))
    run_camera(camera, slots, **request)
    return frozenset(_digest(pixels.tobytes()) for pixels in slots.pixels)


def _must_equal_raw(recording: Recording, *, identity: bool) -> list[int]:
    return [
        line["seq"]
        for line in recording.frames
        if identity or line.get("flags", 0) & FrameFlags.PASSTHROUGH
    ]


def _named(what: str, seqs: Sequence[int]) -> list[str]:
    return [f"{len(seqs)} {what}: {list(seqs[:_NAMED])}"] if seqs else []


def _nbytes(epoch: dict[str, Any]) -> int:
    return frame_nbytes((epoch["height"], epoch["width"]), epoch["dtype"])


def _digest(pixels: bytes) -> bytes:
    return blake2b(pixels, digest_size=16).digest()
