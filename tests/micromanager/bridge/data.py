"""``DataManager`` and the images it makes: what a client needs to show a picture of its own.

Knows: ``createImage``, coordinates, metadata, their builders. Must not know: windows, cameras.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bridge.java import OBJECT, STRING, JavaError, JavaObject, method
from bridge.tagged import TaggedImage

_COORDS = "org.micromanager.data.Coords"
_COORDS_BUILDER = "org.micromanager.data.Coords$Builder"
_METADATA = "org.micromanager.data.Metadata"
_METADATA_BUILDER = "org.micromanager.data.Metadata$Builder"
_IMAGE = "org.micromanager.data.Image"
_CREATE = (_IMAGE, OBJECT, "int", "int", "int", "int", _COORDS, _METADATA)


class Coords(
    JavaObject, name="org.micromanager.data.internal.DefaultCoords", interfaces=(_COORDS,)
):
    """Where an image is in its data set."""

    def __init__(self, axes: dict[str, int]) -> None:
        self.axes = axes

    @method("int", STRING)
    def get_index(self, axis: str) -> int:
        return self.axes.get(axis, -1)


class CoordsBuilder(
    JavaObject,
    name="org.micromanager.data.internal.DefaultCoords$Builder",
    interfaces=(_COORDS_BUILDER, "org.micromanager.data.Coords$CoordsBuilder"),
):
    """Builds coordinates."""

    def __init__(self) -> None:
        self._axes: dict[str, int] = {}

    @method(_COORDS_BUILDER, STRING, "int")
    def index(self, axis: str, value: int) -> CoordsBuilder:
        self._axes[axis] = value
        return self

    @method(_COORDS_BUILDER, "int")
    def c(self, value: int) -> CoordsBuilder:
        return self.index("channel", value)

    @method(_COORDS_BUILDER, "int")
    def t(self, value: int) -> CoordsBuilder:
        return self.index("time", value)

    @method(_COORDS_BUILDER, "int")
    def z(self, value: int) -> CoordsBuilder:
        return self.index("z", value)

    @method(_COORDS_BUILDER, "int")
    def p(self, value: int) -> CoordsBuilder:
        return self.index("position", value)

    @method(_COORDS)
    def build(self) -> Coords:
        return Coords(dict(self._axes))


class ImageMetadata(
    JavaObject, name="org.micromanager.data.internal.DefaultMetadata", interfaces=(_METADATA,)
):
    """What is known about an image."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values


class MetadataBuilder(
    JavaObject,
    name="org.micromanager.data.internal.DefaultMetadata$Builder",
    interfaces=(_METADATA_BUILDER, "org.micromanager.data.Metadata$MetadataBuilder"),
):
    """Builds metadata."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    @method(_METADATA_BUILDER, "java.lang.Double")
    def exposure_ms(self, value: float) -> MetadataBuilder:
        return self._put("exposureMs", value)

    @method(_METADATA_BUILDER, "double")
    def elapsed_time_ms(self, value: float) -> MetadataBuilder:
        return self._put("elapsedTimeMs", value)

    @method(_METADATA_BUILDER, "java.lang.Long")
    def image_number(self, value: int) -> MetadataBuilder:
        return self._put("imageNumber", value)

    @method(_METADATA_BUILDER, STRING)
    def camera(self, value: str) -> MetadataBuilder:
        return self._put("camera", value)

    @method(_METADATA)
    def build(self) -> ImageMetadata:
        return ImageMetadata(dict(self._values))

    def _put(self, key: str, value: Any) -> MetadataBuilder:
        self._values[key] = value
        return self


class Image(JavaObject, name="org.micromanager.data.internal.DefaultImage", interfaces=(_IMAGE,)):
    """An image with coordinates and metadata."""

    def __init__(
        self,
        pixels: np.ndarray[Any, Any],
        shape: tuple[int, int],
        coords: Coords,
        metadata: ImageMetadata,
    ) -> None:
        self.pixels, (self.height, self.width) = pixels, shape
        self.bytes_per_pixel = int(pixels.dtype.itemsize)
        self.coords, self.metadata = coords, metadata

    @method("int")
    def get_width(self) -> int:
        return self.width

    @method("int")
    def get_height(self) -> int:
        return self.height

    @method("int")
    def get_bytes_per_pixel(self) -> int:
        return self.bytes_per_pixel

    @method(OBJECT)
    def get_raw_pixels(self) -> np.ndarray[Any, Any]:
        return self.pixels


class DataManager(
    JavaObject,
    name="org.micromanager.data.internal.DefaultDataManager",
    interfaces=("org.micromanager.data.DataManager",),
):
    """Makes images.

    As in Java, pixels are byte[] or short[]; char[], which is numpy's uint16, is refused.
    """

    @method(_COORDS_BUILDER)
    @method(_COORDS_BUILDER, name="getCoordsBuilder")
    def coords_builder(self) -> CoordsBuilder:
        return CoordsBuilder()

    @method(_METADATA_BUILDER)
    @method(_METADATA_BUILDER, name="getMetadataBuilder")
    def metadata_builder(self) -> MetadataBuilder:
        return MetadataBuilder()

    @method(*_CREATE)
    @method(*_CREATE, name="wrapImage")
    def create_image(  # noqa: PLR0917  (as in Java)
        self,
        pixels: Any,
        width: int,
        height: int,
        bytes_per_pixel: int,
        components: int,
        coords: Coords,
        metadata: ImageMetadata,
    ) -> Image:
        kind = {1: "|u1", 2: "<i2"}.get(bytes_per_pixel)
        illegal = "java.lang.IllegalArgumentException"
        if not isinstance(pixels, np.ndarray) or pixels.dtype.str != kind or components != 1:
            raise JavaError("Pixel type is not supported.  It could not be cloned", illegal)
        if pixels.size < width * height:
            raise JavaError("Pixel array is too small for the image", illegal)
        return Image(pixels, (height, width), coords, metadata)

    @method(_IMAGE, "mmcorej.TaggedImage")
    def convert_tagged_image(self, tagged: TaggedImage) -> Image:
        tags = tagged.tags.values
        shape = (int(tags["Height"]), int(tags["Width"]))
        return Image(tagged.pix, shape, Coords({}), ImageMetadata(dict(tags)))
