"""The recorder: raw frames to disk, losslessly, acknowledged only when written."""
