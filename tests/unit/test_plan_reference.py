"""docs/collect.md says what the models say."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from livedenoise.collect.plan import load_plan, make_program, shipped_plans
from livedenoise.collect.plan_model import PlanConfig
from livedenoise.collect.program import Limits

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "collect.md"


def test_the_keys_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import make_plan_reference

    page = PAGE.read_text(encoding="utf-8")
    assert page == make_plan_reference.render(page), "run tools/make_plan_reference.py"
    for key in (*PlanConfig.model_fields, *Limits.model_fields):
        assert f"`{key}`" in page or f"[{key}]" in page, key
    for name in ("make_plan_reference", "make_config_reference"):
        sys.modules.pop(name, None)


def test_every_shipped_plan_is_in_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in shipped_plans():
        assert f"| `{name}` |" in page


def test_the_plan_of_the_page_can_be_taken(tmp_path: Path) -> None:
    from plan_kit import START, scope_info

    page = PAGE.read_text(encoding="utf-8")
    text = page.partition("## A plan")[2].partition("```toml")[2].partition("```")[0]
    assert tomllib.loads(text)["order"] == "bracket"
    path = tmp_path / "page.toml"
    path.write_text(text, encoding="utf-8")
    assert len(make_program(load_plan(path), scope_info(), START).fields) == 25
