"""Contracts every other package builds on: no socket, process, file format or heavy import."""
