"""What runs in the container: the standard library, the bundled cloudpickle, and nothing else.

These modules travel as one zipapp (``smexec.capture.layers``), under the name ``_smexec_worker`` so that
an image may have an smexec of its own. They start on any Python from 3.8 on.
"""
