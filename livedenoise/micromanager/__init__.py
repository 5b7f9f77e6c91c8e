"""Micro-Manager's core, in this process or behind its bridge. The only import of its packages."""
