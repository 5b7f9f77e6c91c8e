"""Conformance kits and named faults for tests; never imported by the product."""
