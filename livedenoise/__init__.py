"""livedenoise: live denoising of low-exposure microscope frames at camera rate."""

__version__ = "0.1.0"
