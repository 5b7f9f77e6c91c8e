"""Sources of frames, and the pump that puts them on the raw ring."""
