"""The parts of ``livedenoise.hook()``: one image from an acquisition to a daemon, and back."""
