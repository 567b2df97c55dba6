#!/usr/bin/env bash
# Prints a libFuzzer dictionary of the config fields and architectures that the planner knows.
# Usage: fuzz/make_dictionary.sh > fuzz/dictionaries/config.dict
set -euo pipefail
cd "$(dirname "$0")/.."
grep -rhoE '"[a-z][a-z0-9_.]{2,40}"' planner/src/model | sort -u | sed -e 's/^"\(.*\)"$/"\\"\1\\""/'
printf '%s\n' '"NaN"' '"-Infinity"' '"null"' '"true"' '"18446744073709551615"' '"1e300"' '"-1"' '"\"quantization\":{\"group_size\":64,\"bits\":4}"'
