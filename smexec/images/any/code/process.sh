#!/bin/sh
# An example, to be changed, in whatever language: counts the lines of the files that are its
# input `data` into its output `out`.
set -eu
processing=${SMEXEC_OPT_ML:-/opt/ml}/processing

for file in "$processing"/input/data/*; do
    wc -l < "$file" > "$processing/output/out/$(basename "$file").lines"
done
