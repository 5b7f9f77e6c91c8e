"""Why numbers are missing from a stream after its writer's process was replaced."""

CAMERA_RESTARTED = "camera_restarted"
"""Frames exposed while the process around the camera was replaced."""

DENOISER_RESTARTED = "denoiser_restarted"
"""Frames nobody denoised while the denoiser was replaced."""

REPLACED = {"raw": CAMERA_RESTARTED, "clean": DENOISER_RESTARTED}
"""The reason by stream."""
