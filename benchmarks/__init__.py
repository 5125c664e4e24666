"""What smexec costs, measured beside others: ``python -m benchmarks``, or ``nox -s bench``."""
