"""Pixels in shared memory, facts on ZeroMQ; the only package that imports either."""
