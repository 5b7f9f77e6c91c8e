"""What a killed writer leaves in its ring is found: every whole frame, no torn one, in order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from stream_kit import EAGER, open_stream, pixels_of
from test_followed import Follow, follow, order, served, take

from livedenoise.bus.backlog import Lossless
from livedenoise.bus.rescue import frames_left
from livedenoise.bus.ring import Ring

__all__ = ["follow"]


@settings(max_examples=30, deadline=None)
@given(
    n_frames=st.integers(0, 20),
    after=st.integers(-1, 21),
    cut=st.booleans(),
    garbage=st.binary(max_size=40),
)
def test_every_whole_frame_after_a_number_is_found(
    n_frames: int, after: int, cut: bool, garbage: bytes
) -> None:
    with open_stream(n_slots=6) as stream:
        stream.publish(n_frames)
        if cut:
            # Killed while it wrote the next frame, or the message beside it.
            slot = stream.begin()
            assert slot is not None
            if garbage:
                stream.ring.set_news(slot[0].slot, garbage)
        reader = Ring.attach(stream.ring.spec)
        found = frames_left(reader, after)
        held = range(max(0, n_frames - 6 + cut), n_frames)
        assert [header.seq for header in found] == [seq for seq in held if seq > after]
        for header in found:
            pixels = reader.view(header.slot, header.shape, header.dtype)
            assert (pixels == pixels_of(header.seq)).all()
        reader.close()


def test_a_slot_being_written_does_not_pass_for_the_frame_it_held() -> None:
    with open_stream(n_slots=4) as stream:
        stream.publish(6)
        # The writer dies while it writes over the oldest frame: its old header is still there.
        slot = stream.begin()
        assert slot is not None
        grant, pixels = slot
        pixels[...] = 0
        news = stream.ring.news(grant.slot)
        assert news, "a frame was there before"
        found = frames_left(stream.ring, -1)
        assert grant.slot not in [header.slot for header in found]
        assert [header.seq for header in found] == [3, 4, 5]


def test_what_was_told_to_nobody_is_read_before_the_new_ring(follow: Follow) -> None:
    with open_stream(n_slots=8) as old, open_stream(first_seq=6, expect=("record",)) as new:
        followed = follow(old, Lossless())
        old.publish(2)
        with served(old):
            assert take(followed, lambda: followed.received == 2) == [0, 1]
        # From here on the old writer tells nobody any more: it is killed after frame 3.
        old.writer._readers.clear()
        old.publish(2)
        followed.replace(order(new))
        new.publish(1)
        with served(new):
            assert take(followed, lambda: followed.received == 5) == [2, 3, 6]
        followed.close()


def test_a_viewer_rescues_nothing(follow: Follow) -> None:
    with open_stream(n_slots=8) as old:
        followed = follow(old, EAGER)
        old.writer._readers.clear()
        old.publish(2)
        assert not followed.rescue()
        followed.close()


def test_what_is_left_is_handed_out_once(follow: Follow) -> None:
    with open_stream(n_slots=8) as old:
        followed = follow(old, Lossless())
        old.writer._readers.clear()
        old.publish(2)
        assert followed.rescue()
        assert followed.backlog == 2
        assert take(followed, lambda: followed.backlog == 0) == [0, 1]
        assert not followed.rescue()
        followed.close()


def test_news_too_long_for_its_place_is_no_news() -> None:
    with open_stream() as stream:
        stream.ring.set_news(0, b"x" * 5000)
        assert stream.ring.news(0) == b""
        stream.ring.set_news(0, b"short")
        assert stream.ring.news(0) == b"short"
