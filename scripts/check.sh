#!/bin/bash
# SPDX-License-Identifier: MIT
# check.sh TEST... - runs tests (programs and scripts that print TAP) under prove, keeps what each
# printed in $B/tap, lists what was skipped and ends with a line "N passed, N failed, N skipped".
#
# REQUIRE="netns fidelity": fails also when a test of these groups was skipped as a whole, or when
# the group has none. TEST_LIMIT: seconds that one test may take. RETRY=1: what fails beside other
# tests is run once more, alone, and said: some look at times and at the whole machine.
set -u
cd "$(dirname "$0")/.." || exit 1
export B=${B:-build/release}
export TAP_DIR=$PWD/$B/tap
case $B in /*) TAP_DIR=$B/tap ;; esac
rm -rf "$TAP_DIR"
mkdir -p "$TAP_DIR"

prove -j "${JOBS:-2}" --statefile "$TAP_DIR/.prove" --state save --exec scripts/tap-save.sh "$@"
status=$?
if [ "$status" != 0 ] && [ -n "${RETRY-}" ]; then
	echo "=== once more, alone: what failed"
	prove -j 1 --statefile "$TAP_DIR/.prove" --state failed --exec scripts/tap-save.sh
	status=$?
fi

skipped=$(grep -riE '^(1\.\.0|ok .*)#[[:space:]]*skip' "$TAP_DIR" | sed "s|^$TAP_DIR/||")
if [ -n "$skipped" ]; then
	echo "skipped:"
	sed 's/^/  /' <<<"$skipped"
fi
for group in ${REQUIRE-}; do
	if ! ls "$TAP_DIR/$group".* >/dev/null 2>&1; then
		echo "group $group has no tests"
		status=1
	elif grep -qiE '^1\.\.0' "$TAP_DIR/$group".*; then
		echo "group $group must run here, but was skipped"
		status=1
	fi
done
cat "$TAP_DIR"/*.tap | awk -v status=$status '
	/^not ok/ && !/# *TODO/ { failed++; next }
	/^ok.*# *[Ss][Kk][Ii][Pp]/ { skipped++; next }
	/^ok/ { passed++ }
	END {
		if (status && !failed) failed = 1 # died, or printed no plan
		printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
	}'
exit $status
