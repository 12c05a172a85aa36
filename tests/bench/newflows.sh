#!/bin/bash
# SPDX-License-Identifier: MIT
# newflows.sh - new flows a second with 10,000 rules, as a share of the same weir without any. The place
# is run.sh's, and so are its variables (QUICK, ROUNDS, CRR_SECS). The goal is 0.8.
set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
OUT=${OUT:-$TOP/build/bench-newflows.md}
mkdir -p "$TOP/build"
ROWS="weir+none weir+rules" CELLS='^crr$' OUT=/dev/null bash "$TOP/tests/bench/run.sh" | tee "$OUT.raw"
awk '
function median(text,    n, v, i, j, t) {
	n = split(text, v, " ")
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
	return n ? (n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2) : 0
}
$1 == "crr" { values[$2] = values[$2] " " $3 }
END {
	none = median(values["weir+none"])
	rules = median(values["weir+rules"])
	share = none ? rules / none : 0
	printf "new flows a second: %d without rules, %d with 10,000: %.2f, goal 0.8: %s\n",
		none, rules, share, (share >= 0.8 ? "met" : "missed")
}' "$OUT.raw" | tee "$OUT"
rm -f "$OUT.raw"
