"""When a run was whole again after each blow, and who was away meanwhile: pure.

Knows: times of blows and of frames. Must not know: processes, files.
"""

from __future__ import annotations

from bisect import bisect_right

from soak_facts import Blow

GRACE_NS = 5_000_000
"""A frame that was complete this shortly after a blow may have been under way already."""


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
