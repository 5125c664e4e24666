"""Images for scripts: directories with a Dockerfile, which the user may change."""

from __future__ import annotations
