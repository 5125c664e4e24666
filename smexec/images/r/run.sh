#!/bin/sh
# What SageMaker starts. `exec`, so that its SIGTERM reaches R.
set -eu
exec Rscript --no-save "$(dirname "$0")/entrypoint.R" "$@"
