"""docs/configuration.md says what the code says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_reference_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import make_config_reference

    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == make_config_reference.render(), "run tools/make_config_reference.py"
    assert "`photons_per_s`" in page
    sys.modules.pop("make_config_reference")
