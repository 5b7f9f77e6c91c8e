"""Microscopes that expose on command: simulated, and through Micro-Manager."""
