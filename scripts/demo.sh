#!/bin/sh
# From ECGs to a report: store, classifier, evaluation.   scripts/demo.sh [FOLDER in PTB-XL's layout]
# Each step leaves out what is done, so an interrupted demo goes on where it stopped.
set -eu
data=${1:-}
[ -z "$data" ] || [ ! -d "$data" ] || data=$(cd "$data" && pwd)
cd "$(dirname "$0")/.."
einthoven=.venv/bin/einthoven

if [ -z "$data" ]; then
    store=stores/synthetic run=runs/demo-synthetic
    echo "Data: synthetic ECGs, made on the spot. For real ones: make demo DATA=/path/to/ptb-xl"
    $einthoven import synthetic - "$store" --hertz 100 --workers 2 --set records=4000
else
    # Two folders of one name are two data sets: the path tells them apart.
    name=$(basename "$data" | tr -cs 'A-Za-z0-9._\n' '-')-$(printf %s "$data" | cksum | cut -d ' ' -f 1)
    store=stores/ptbxl-$name run=runs/demo-$name
    echo "Data: $data"
    $einthoven import ptbxl "$data" "$store" --hertz 100 --workers 2
fi
# Ends with the test macro AUROC, its interval, and the path of the report. A finished run of this recipe
# on this store is only shown; one of anything else is refused.
$einthoven train recipes/demo/superdiag.toml --data "$store" --out "$run" --resume
