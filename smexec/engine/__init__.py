"""The one place that orchestrates: submit → track → resolve, on one loop thread that all executors share.

Receives futures and resolves them; knows nothing of executors.
"""
