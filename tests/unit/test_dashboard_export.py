"""The dashboard as SVG: a well-formed document that holds text, blocks and the true pixels."""

from __future__ import annotations

import base64
import struct
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from snapshot_kit import preview, snapshot, stream

from livedenoise.view.export import export_svg

SVG = "{http://www.w3.org/2000/svg}"
CELL_W, CELL_H, MARGIN = 8, 18, 12


def decoded(image: ET.Element) -> npt.NDArray[np.uint8]:
    """Return (Y, X, 2) grey and alpha of the embedded PNG file, checksums verified."""
    data = base64.b64decode(image.attrib["href"].split(",")[1])
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, {}
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(
            kind + body
        )
        parts[kind] = body
        at += 12 + length
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 2)


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_it_is_well_formed_and_nothing_leaves_its_frame(size: tuple[int, int]) -> None:
    root = ET.fromstring(export_svg(snapshot(name="a<&b"), *size))  # noqa: S314
    full_w, full_h = size[0] * CELL_W, size[1] * CELL_H
    right, bottom = map(int, root.attrib["viewBox"].split()[2:])
    assert (right, bottom) <= (full_w + 2 * MARGIN, full_h + 2 * MARGIN)
    texts = root.findall(f".//{SVG}text")
    assert any("a<&b" in (text.text or "") for text in texts)
    for text in texts:
        assert float(text.attrib["x"]) + float(text.attrib["textLength"]) <= full_w
    for rect in root.findall(f"{SVG}g/{SVG}rect"):
        assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= full_w
        assert 0 <= float(rect.attrib["y"]) <= full_h


def test_pictures_are_pixels_not_characters() -> None:
    document = export_svg(snapshot(), 200, 60)
    assert "▀" not in document
    assert "█" not in document
    (image,) = ET.fromstring(document).findall(f".//{SVG}image")  # noqa: S314
    pixels = decoded(image)
    shown = pixels[pixels[..., 1] == 255][:, 0]
    assert shown.min() == 0
    assert shown.max() == 255
    assert pixels.shape[1] == 200 * CELL_W


def test_upper_and_lower_halves_of_a_cell_are_not_exchanged() -> None:
    rising = preview(64)
    (image,) = ET.fromstring(  # noqa: S314
        export_svg(snapshot(streams=(stream(preview=rising),)), 200, 60)
    ).findall(f".//{SVG}image")
    pixels = decoded(image)
    first = pixels[:, CELL_W // 2]
    seen = np.flatnonzero(first[:, 1])
    assert (np.diff(seen) == 1).all()
    column = first[seen, 0].astype(int)
    assert len(column) > 100
    assert (np.diff(column) >= 0).all()


def test_no_picture_no_image() -> None:
    assert "<image" not in export_svg(snapshot(streams=(stream(preview=None),)), 200, 60)
