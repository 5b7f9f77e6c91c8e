"""Composition root of the live plane: configuration -> rings -> stages -> supervision.

It starts, watches and stops the stage processes and never touches a pixel.
"""
