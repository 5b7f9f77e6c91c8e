"""A stand-in for Micro-Manager's Java server, backed by a real core: for tests only.

``python -m bridge`` serves one port (``server``); ``client`` starts and orders it from a test.
It speaks the wire protocol of pyjavaz 1.2.8 for the classes a client of the camera uses, and no
more: everything else is refused as a Java class that is not on the class path.
"""
