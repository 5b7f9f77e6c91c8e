"""Measures of image quality: with a reference, and without one."""
