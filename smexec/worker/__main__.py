"""Where the container starts us: ``python worker.pyz``.

Written so that any Python, 2.7 too, can parse it: an old one must get a message, not a syntax error.
"""

import os
import sys

OLDEST = (3, 8)


def refuse():  # type: ignore[no-untyped-def]  # Python 2.7 parses this file
    """Say what is wrong with this Python, to people and to the platform."""
    text = (
        "smexec: Python mismatch: the image's python is %d.%d, and smexec needs 3.8 or later there "
        "(and the client's own major.minor). Choose another image_uri." % sys.version_info[:2]
    )
    sys.stderr.write(text + "\n")
    folder = os.path.join(os.environ.get("SMEXEC_OPT_ML", "/opt/ml"), "output")
    if not os.path.isdir(folder):
        os.makedirs(folder)
    with open(os.path.join(folder, "failure"), "w") as file:
        file.write(text)
    return 3  # protocol.EXIT_REFUSED, which this Python cannot import


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        sys.exit(refuse())  # type: ignore[no-untyped-call]
    from _smexec_worker.job import main  # type: ignore[import-not-found]

    sys.exit(main())
