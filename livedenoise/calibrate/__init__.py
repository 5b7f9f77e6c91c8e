"""Camera calibration: photon transfer, per-pixel maps, and the report of both."""
