"""The preflight of ``livedenoise check``: everything that can be known before an experiment.

Deciding stands apart from doing: ``space``, ``machine``, ``ports``, ``rig`` and ``ceilings`` judge
numbers and touch nothing; ``readings``, ``probes``, ``measuring`` read and measure; ``check``
puts them together and never stops at the first problem.
"""
