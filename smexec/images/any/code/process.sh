#!/bin/sh
# An example, to be changed, in whatever language: counts the lines of the files in one directory into another.
set -eu
processing=${SMEXEC_OPT_ML:-/opt/ml}/processing

for file in "$processing"/input/data/*; do
    wc -l < "$file" > "$processing/output/$(basename "$file").lines"
done
