#!/bin/sh
# What SageMaker starts: run.sh train (Training), run.sh serve (an endpoint), run.sh SCRIPT ... (Processing).
#
# Not `exec Rscript`, though SIGTERM would reach R so: R has no handler for it and dies on the spot, and where
# it is the container's process 1, it does not even notice. What R has is SIGINT, the `interrupt` condition of
# Ctrl-C and of RStudio's stop button. So SageMaker's SIGTERM becomes that, and a script may catch it.
set -u

export SMEXEC_COMMAND="${1:-}"
export SMEXEC_STOPPED="${TMPDIR:-/tmp}/stopped.$$" # a file, for R is deaf before it is up
[ $# -eq 0 ] || shift

# Once only: a second one must not interrupt R while it saves its model.
stopped=
trap 'trap "" TERM; stopped=yes; : > "$SMEXEC_STOPPED"; kill -INT $!' TERM

Rscript --no-save "$(dirname "$0")/entrypoint.R" "$@" &
wait $!
code=$?
if [ "$stopped" ]; then # it was the waiting that has ended
    wait $!
    code=$?
    rm -f "$SMEXEC_STOPPED"
fi
exit "$code"
