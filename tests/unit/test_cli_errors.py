"""Whatever happens: one message, the exit code of its kind, one object with ``--json``."""

from __future__ import annotations

import json

import pytest

from livedenoise import cli
from livedenoise.core.errors import EXIT_ABORTED, EXIT_INTERNAL
from livedenoise.verbs import running


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError("boom"), EXIT_INTERNAL), (KeyboardInterrupt(), EXIT_ABORTED)]
)
def test_an_unforeseen_end_is_one_object_too(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(running, "_run_config", fail)
    assert cli.main(["demo", "--json"]) == code
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["exit_code"] == code
    assert found["errors"]


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_a_duration_is_a_number_above_0(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["demo", "--seconds", text])
    assert end.value.code == 2
    assert "--seconds" in capsys.readouterr().err
