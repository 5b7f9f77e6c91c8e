"""Every kind of fault is caught in a collection, and no good pair rejected (few fields of each)."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_each_fault_is_caught_and_no_good_pair_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import prove_collection

    found = prove_collection.run(seed=7, rows=4, columns=6, each=1, size_px=192)
    assert found["fields"] == 24
    assert (found["good"], found["good_rejected"]) == (14, 0), found["wrongly"]
    for kind, counts in found["faults"].items():
        assert (counts["injected"], counts["caught"]) == (1, 1), kind
    reasons = {kind: next(iter(one["reasons"])) for kind, one in found["faults"].items()}
    assert reasons["swapped_exposure"] == reasons["stale_frames"] == "ratio"
    assert reasons["drift"] == "shift"
    assert reasons["defocus"] == "focus"
    assert reasons["bleaching"] == "bleaching"
    assert reasons["stuck_shutter"] == "dark"
