#!/bin/bash
# SPDX-License-Identifier: MIT
# coverage.sh BUILD - lines of each source file that the tests reached, from gcc's notes in BUILD
set -u
B=$1
find "$B/src" "$B/stack" -name '*.gcda' | sort | while read -r notes; do
	gcov -n "$notes" 2>/dev/null
done | awk -F"'" '
	/^File/ { file = $2 }
	/^Lines executed/ {
		split($0, p, /[:% ]+/)
		if (file ~ /^(src|stack)\/.*\.c$/) { share[file] = p[3]; lines[file] = p[5] }
	}
	END {
		for (f in share) {
			printf "%6.1f %%  %5d  %s\n", share[f], lines[f], f | "sort -k3"
			sum += share[f] * lines[f]
			all += lines[f]
		}
		close("sort -k3")
		if (all) printf "%6.1f %%  %5d  all\n", sum / all, all
	}'
