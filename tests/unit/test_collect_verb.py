"""The verb ``collect``: options, signals, what is shown; the run itself is stood in for."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from livedenoise import cli
from livedenoise.collect import session
from livedenoise.collect.run import PairShown
from livedenoise.collect.session import CollectSummary
from livedenoise.collect.shots import Pair, Shot, Taken
from livedenoise.collect.verdict import Check, PairVerdict
from livedenoise.core.errors import EXIT_ABORTED, EXIT_CONFIG
from livedenoise.core.progress import Progress
from livedenoise.verbs.collecting import verdict_text

Run = Callable[..., None]


def summary_of(**changed: Any) -> CollectSummary:
    facts = {
        "exit_code": 0,
        "fields": 5,
        "fields_done": 3,
        "fields_failed": 0,
        "left": 2,
        "pairs_accepted": 3,
        "pairs_rejected": 1,
        "dose_us": 5000.0,
        "elapsed_s": 4.0,
        "report": "out/report.html",
    }
    return CollectSummary(**(facts | changed))


def shown(*, accepted: bool) -> PairShown:
    image = np.arange(64, dtype=np.uint16).reshape(8, 8)
    low, high = (
        Taken(shot=Shot(role=role, exposure_us=exposure_us), image=image)
        for role, exposure_us in (("low", 10), ("high", 100))
    )
    check = Check(
        name="ratio", value=0.5, limit=0.1, passed=accepted, text="ratio 0.5 where 0.1 is planned"
    )
    verdict = PairVerdict(
        accepted=accepted,
        reasons=() if accepted else ("ratio",),
        checks=(check,),
        ratio=0.0992,
        expected_ratio=0.1,
        shift_px=(0.3, -0.4),
        psnr_db=24.13,
    )
    return PairShown(field=2, attempt=0, pair=Pair(low=low, high=high), verdict=verdict)


@pytest.fixture
def collect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Return a function that runs the verb with something in place of the run."""

    def run(during: Run = lambda **_: None, *options: str, **summary: Any) -> int:
        def run_collect(config: Path, plan: Path, out: Path, **found: Any) -> CollectSummary:
            assert config.name == "demo.toml"
            assert plan.name == "quick.toml"
            assert out == tmp_path / "pairs"
            during(**found)
            return summary_of(**summary)

        monkeypatch.setattr(session, "run_collect", run_collect)
        verb = ["collect", "demo", "--plan", "quick", "--out", str(tmp_path / "pairs")]
        return cli.main([*verb, *options])

    return run


def take_two(*, on_progress: Any, on_pair: Any, **_: Any) -> None:
    on_progress(Progress(task="collect", done=1, total=2, unit="fields", note="1 pair accepted"))
    on_pair(shown(accepted=True))
    on_pair(shown(accepted=False))


def test_a_pipe_gets_lines_and_the_summary(
    collect: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert collect(take_two) == 0
    text = capsys.readouterr().out
    assert "collect 1/2 fields: 1 pair accepted\n" in text
    assert "field 2, level0-repeat0: REJECTED: ratio 0.5 where 0.1 is planned\n" in text
    assert "level0-repeat0: accepted" not in text
    for part in (
        "3 of 5 done, 0 failed, 2 left",
        "3 accepted, 1 rejected",
        "5 ms at full light",
        "report.html",
    ):
        assert part in text


def test_json_is_one_object_and_the_exit_code_is_the_runs(
    collect: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def check(*, on_pair: Any, on_progress: Any, resume: bool, **_: Any) -> None:
        assert on_pair is None
        assert resume
        on_progress(Progress(task="collect", done=1, total=2))

    assert collect(check, "--json", "--resume", exit_code=5, errors=["all failed"]) == 5
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["exit_code"], found["fields_done"]) == (5, 3)
    assert "livedenoise: all failed" in captured.err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_first_signal_stops_and_the_second_aborts(
    name: str, collect: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(getattr(signal, name))
    seen: list[bool] = []

    def stopped(*, stop: threading.Event, **_: Any) -> None:
        seen.append(stop.is_set())
        signal.raise_signal(getattr(signal, name))
        seen.append(stop.is_set())

    assert collect(stopped) == 0
    assert seen == [False, True]
    assert "the field in progress is finished" in capsys.readouterr().out

    def aborted(**_: Any) -> None:
        signal.raise_signal(getattr(signal, name))
        signal.raise_signal(getattr(signal, name))
        pytest.fail("the second signal went by")

    assert collect(aborted) == EXIT_ABORTED
    assert signal.getsignal(getattr(signal, name)) is before


def test_what_else_went_wrong_is_told_beside_an_error(
    collect: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def aborted(**_: Any) -> None:
        error = KeyboardInterrupt()
        error.add_note("not everything could be restored: xy was 0 0")
        raise error

    assert collect(aborted) == EXIT_ABORTED
    said = capsys.readouterr().err
    assert "livedenoise: not everything could be restored: xy was 0 0" in said
    assert "interrupted" in said


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a signal of POSIX")
def test_a_terminal_that_hangs_up_twice_stops_once(collect: Callable[..., int]) -> None:
    def hung_up(*, stop: threading.Event, **_: Any) -> None:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert stop.is_set()

    assert collect(hung_up) == 0


def test_an_unknown_plan_is_an_error_of_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["collect", "demo", "--plan", "none", "--out", str(tmp_path)]) == EXIT_CONFIG
    assert "shipped plans: averaged, ladder" in capsys.readouterr().err


def test_a_verdict_in_one_line() -> None:
    assert verdict_text(shown(accepted=True)) == (
        "field 2, level0-repeat0: accepted, ratio 0.0992 (planned 0.1), shift 0.50 px, PSNR 24.1 dB"
    )
    again = msgspec.structs.replace(shown(accepted=False), attempt=1)
    assert verdict_text(again).startswith("field 2, attempt 2, level0-repeat0: REJECTED: ratio")
