"""Position lists of Micro-Manager: every form it has written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.collect.positions import ListedPosition, read_positions
from livedenoise.core.errors import ConfigError

Devices = dict[str, list[float]]
_COORDINATE = st.floats(-1e6, 1e6)


def property_map(positions: list[tuple[str, str, str, Devices]]) -> dict[str, Any]:
    """Return a list as Micro-Manager 2 saves it: each value in an envelope."""

    def text(value: str) -> dict[str, str]:
        return {"type": "STRING", "scalar": value}

    entries = [
        {
            "DefaultXYStage": text(xy),
            "DefaultZStage": text(z),
            "DevicePositions": {
                "type": "PROPERTY_MAP",
                "array": [
                    {"Device": text(name), "Position_um": {"type": "DOUBLE", "array": values}}
                    for name, values in devices.items()
                ],
            },
            "GridCol": {"type": "INTEGER", "scalar": 0},
            "GridRow": {"type": "INTEGER", "scalar": 0},
            "Label": text(label),
            "Properties": {"type": "PROPERTY_MAP", "scalar": {}},
        }
        for label, xy, z, devices in positions
    ]
    return {
        "encoding": "UTF-8",
        "format": "Micro-Manager Property Map",
        "major_version": 2,
        "minor_version": 0,
        "map": {"StagePositions": {"type": "PROPERTY_MAP", "array": entries}},
    }


def version_3(positions: list[tuple[str, str, str, Devices]]) -> dict[str, Any]:
    """Return a list as Micro-Manager 1.4 saves it: z of a focus drive is in X."""

    def device(name: str, values: list[float]) -> dict[str, Any]:
        y_um = values[1] if len(values) == 2 else 0
        return {"DEVICE": name, "AXES": len(values), "X": values[0], "Y": y_um, "Z": 0}

    entries = [
        {
            "GRID_COL": 0,
            "DEVICES": [device(name, values) for name, values in devices.items()],
            "PROPERTIES": {},
            "DEFAULT_Z_STAGE": z,
            "LABEL": label,
            "GRID_ROW": 0,
            "DEFAULT_XY_STAGE": xy,
        }
        for label, xy, z, devices in positions
    ]
    return {"VERSION": 3, "ID": "Micro-Manager XY-position list", "POSITIONS": entries}


def plain(positions: list[tuple[str, str, str, Devices]]) -> dict[str, Any]:
    """Return a list as it stands in the summary metadata of 2.x data."""
    entries = [
        {
            "Label": label,
            "DefaultXYStage": xy,
            "DefaultZStage": z,
            "DevicePositions": [
                {"Device": name, "Position_um": values} for name, values in devices.items()
            ],
        }
        for label, xy, z, devices in positions
    ]
    return {"StagePositions": entries}


FORMS = [property_map, version_3, plain]
TWO = [
    ("A1", "XY", "Z", {"Z": [5.5], "XY": [100.0, -20.25]}),
    ("A2", "XY", "Z", {"XY": [101.0, -21.0], "Z": [6.0]}),
]


def saved(folder: Path, data: object) -> Path:
    path = folder / "list.pos"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_positions(form: Any, tmp_path: Path) -> None:
    assert read_positions(saved(tmp_path, form(TWO))) == [
        ListedPosition(name="A1", x_um=100.0, y_um=-20.25, z_um=5.5),
        ListedPosition(name="A2", x_um=101.0, y_um=-21.0, z_um=6.0),
    ]


@settings(deadline=None, max_examples=25)
@given(x=_COORDINATE, y=_COORDINATE, z=_COORDINATE)
@pytest.mark.parametrize("form", FORMS)
def test_coordinates_come_back_as_they_were_saved(
    form: Any, x: float, y: float, z: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = saved(tmp_path_factory.mktemp("pos"), form([("p", "S", "F", {"S": [x, y], "F": [z]})]))
    assert read_positions(path) == [ListedPosition(name="p", x_um=x, y_um=y, z_um=z)]


@pytest.mark.parametrize("form", FORMS)
def test_the_default_device_wins_over_others(form: Any, tmp_path: Path) -> None:
    devices: Devices = {"PFSOffset": [1.0], "TIZDrive": [2.0], "XY": [3.0, 4.0]}
    path = saved(tmp_path, form([("p", "XY", "TIZDrive", devices)]))
    assert read_positions(path)[0].z_um == 2.0
    assert read_positions(path, z_stage="PFSOffset")[0].z_um == 1.0
    assert read_positions(path, use_z=False)[0].z_um is None


@pytest.mark.parametrize("form", FORMS)
def test_a_position_without_defaults_has_its_only_devices(form: Any, tmp_path: Path) -> None:
    path = saved(tmp_path, form([("p", "", "", {"XY": [3.0, 4.0]})]))
    assert read_positions(path) == [ListedPosition(name="p", x_um=3.0, y_um=4.0)]


@pytest.mark.parametrize("form", FORMS)
def test_which_of_several_devices_is_asked(form: Any, tmp_path: Path) -> None:
    devices: Devices = {"PFSOffset": [1.0], "TIZDrive": [2.0]}
    path = saved(tmp_path, form([("a", "", "", devices), ("b", "", "", devices)]))
    with pytest.raises(ConfigError, match=r"which z stage: PFSOffset, TIZDrive\?") as refused:
        read_positions(path)
    assert "position 0 (a)" in refused.value.message
    assert "position 1 (b)" in refused.value.message
    assert "positions_xy_stage" in refused.value.hint


@pytest.mark.parametrize("form", FORMS)
def test_a_device_that_is_not_there_is_named(form: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no XY stage 'Other', there is XY"):
        read_positions(saved(tmp_path, form(TWO)), xy_stage="Other")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"POSITIONS": []}, "is empty"),
        ({"map": {"Other": {"type": "STRING", "scalar": "x"}}}, "no position list: none of"),
        ([1, 2], "no position list: none of"),
        ("text", "no position list: none of"),
        ({"POSITIONS": [{"LABEL": "p"}]}, r"position 0 \(p\): none of DevicePositions"),
        ({"POSITIONS": [{"DEVICES": [3]}]}, r"position 0 \(Pos0\): a device is no table"),
        (version_3([("p", "", "", {"S": [1.0, 2.0, 3.0]})]), "has 3 axes"),
        (plain([("p", "", "", {"S": [1.0, 2.0, 3.0]})]), "has 3 coordinates"),
        ({"POSITIONS": [{"DEVICES": [{"DEVICE": "S", "AXES": 1, "X": "1"}]}]}, "no number: '1'"),
        ({"POSITIONS": [{"DEVICES": [{"DEVICE": "S", "AXES": 1}]}]}, "no number: None"),
    ],
)
def test_what_is_no_position_list_is_refused(data: object, text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=text):
        read_positions(saved(tmp_path, data))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such position list"):
        read_positions(tmp_path / "missing.pos")
    broken = tmp_path / "broken.pos"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="not JSON"):
        read_positions(broken)
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_positions(broken)
