"""Denoisers behind one contract, and the model packages they serve."""
