"""Paired low/high-exposure collection from fixed samples, with every pair checked."""
