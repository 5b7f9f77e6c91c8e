"""The live stage around one engine."""
