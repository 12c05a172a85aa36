#!/bin/bash
# SPDX-License-Identifier: MIT
# hooks.sh [NAME]... - what each hook costs: throughput and new connections with it, as a share of
# what the same weir does without any, and CPU seconds per GB, as a multiple. NAME: only these. The
# place is run.sh's; so are its variables (QUICK, ROUNDS, SECS). The rounds go in turn, and shares are of
# medians.
set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
OUT=${OUT:-$TOP/build/bench-hooks.md}

# hook, and the share of throughput that is the goal; @DIR@: where run.sh puts scripts of this directory
goals='count 0.95
names 0.9
match=@DIR@/patterns 0.6
lua=@DIR@/pass.lua 0.5'

selected() {
	while read -r hook goal; do
		[ $# = 0 ] || [[ " $* " == *" ${hook%%=*} "* ]] || continue
		echo "$hook $goal"
	done <<<"$goals"
}

list=$(selected "$@")
[ -n "$list" ] || { echo "hooks.sh: no such hook: $*" >&2; exit 2; }
mkdir -p "$TOP/build"
rows=weir+none
while read -r hook _; do rows+=" weir+$hook"; done <<<"$list"
ROWS=$rows CELLS='^(up-1|down-1|crr)$' OUT=/dev/null bash "$TOP/tests/bench/run.sh" | tee "$OUT.raw"

{
	echo "| hook | TCP up | down | CPU up | CPU down | new connections | goal |"
	echo "|---|---|---|---|---|---|---|"
	awk -v list="$list" '
	function median(key,    n, v, i, j, t) {
		n = split(values[key], v, " ")
		for (i = 2; i <= n; i++)
			for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) {
				t = v[j]; v[j] = v[j - 1]; v[j - 1] = t
			}
		return n ? (n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2) : 0
	}
	function share(cell, hook,    base) {
		base = median(cell " weir+none")
		return base ? median(cell " weir+" hook) / base : 0
	}
	$2 ~ /^weir\+/ { values[$1 " " $2] = values[$1 " " $2] " " $3 }
	END {
		n = split(list, lines, "\n")
		for (i = 1; i <= n; i++) {
			split(lines[i], h, " ")
			up = share("up-1", h[1])
			down = share("down-1", h[1])
			name = h[1]
			sub(/=.*/, "", name)
			printf "| %s | %.2f | %.2f | %.2f | %.2f | %.2f | %s of throughput: %s |\n",
				name, up, down, share("cpu-up-1", h[1]), share("cpu-down-1", h[1]),
				share("crr", h[1]), h[2], (up >= h[2] && down >= h[2] ? "met" : "missed")
		}
	}' "$OUT.raw"
} | tee "$OUT"
rm -f "$OUT.raw"
