"""When a run was whole again after each blow, and who was away meanwhile: pure.

Knows: times of blows and of frames. Must not know: processes, files.
"""

from __future__ import annotations

from bisect import bisect_right

from soak_facts import Blow

GRACE_NS = 5_000_000
"""A frame that was complete this shortly after a blow may have been under way already."""

ATTACH_NS = 2_000_000_000
"""Time a resumed recorder may need to attach its stream: until then it counts as down."""


def note_recovery(blows: list[Blow], denoised_ns: list[tuple[int, int]]) -> None:
    """Note in each blow when the first frame captured after it was published denoised.

    Parameters
    ----------
    denoised_ns : list of (int, int)
        (t_host_ns, t_publish_ns) of the denoised frames, in the order of their numbers.
    """
    hosts = [host for host, _ in denoised_ns]
    back_ns: list[float] = []
    for blow in blows:
        first = bisect_right(hosts, blow.t_ns + GRACE_NS)
        back_ns.append(denoised_ns[first][1] if first < len(hosts) else float("inf"))
        if first < len(hosts) and blow.kinds != ("daemon",):
            blow.denoised_ms = (denoised_ns[first][1] - blow.t_ns) * 1e-6
    for index, blow in enumerate(blows):
        before = any(back > blow.t_ns for back in back_ns[:index])
        after = any(later.t_ns < back_ns[index] for later in blows[index + 1 :])
        blow.alone = not (before or after)


def exposed_s(blows: list[Blow], host_ns: list[int], resumed_ns: list[int]) -> list[float]:
    """Return, for each camera death while the recorder was away too, for how long it was.

    What the camera put in the ring in that time had no recorder, and does not outlive the camera.

    Parameters
    ----------
    host_ns : list of int
        When the recorded raw frames were captured, ascending.
    resumed_ns : list of int
        When each successor of the recorder began to work, ascending.
    """
    recorder = _outages(blows, "record", resumed_ns, ATTACH_NS)
    found = []
    for down, back in _outages(blows, "acquire", host_ns, 0):
        since = [r[0] for r in recorder if down <= r[1] and r[0] <= back]
        if since:
            found.append(max(0.0, down - min(since)) * 1e-9)
    return found


def _outages(
    blows: list[Blow], kind: str, back_ns: list[int], more_ns: int
) -> list[tuple[float, float]]:
    """Return (from, to) of each time a kind of stage was away; infinite when it never came back."""
    found = []
    for blow in blows:
        if kind in blow.kinds:
            first = bisect_right(back_ns, blow.t_ns + GRACE_NS)
            end = back_ns[first] + more_ns if first < len(back_ns) else float("inf")
            found.append((float(blow.t_ns), float(end)))
    return found
