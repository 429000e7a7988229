#!/bin/sh
# Prints which tests could not run on this machine, as the last line of `make test`. Takes the file that they were noted in.
set -eu

if [ ! -s "$1" ]; then
    echo "tests: none was skipped"
    exit 0
fi
sort -u "$1" | sed 's/^/skipped: /'
echo "tests: $(sort -u "$1" | wc -l | tr -d ' ') could not run on this machine (listed above)"
