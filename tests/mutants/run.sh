#!/bin/bash
# SPDX-License-Identifier: MIT
# run.sh [PATTERN] - breaks weir on purpose, one patch at a time, and wants a test to turn red.
#
# Each tests/mutants/NAME.patch starts with lines
#	Point: what is broken
#	Test: tests/unit/x_test.c      (or tests/netns/x_test.sh; several lines: all must turn red)
# followed by the diff. Works on a copy of the tree; prints TAP. A test that is red without the
# patch, a patch that does not apply and a mutant that nobody notices are failures.
set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
COPY=$(mktemp -d)
B=build/mutants
n=0
bad=0
declare -A green # test -> yes or no, without any patch

trap 'rm -rf "$COPY"' EXIT
trap 'exit 1' INT TERM

(cd "$TOP" && tar -c --exclude=./build --exclude=./.git .) | tar -x -C "$COPY"
cd "$COPY" || exit 1

result() { # ok|"not ok" NAME [DETAIL]
	n=$((n + 1))
	echo "$1 $n - $2"
	[ "$1" = ok ] || bad=1
	[ -z "${3-}" ] || sed 's/^/# /' <<<"$3"
}

# run_test TEST: 0 = green, 1 = red, 2 = does not build
run_test() {
	local bin
	case $1 in
	*.c)
		bin=$B/${1%.c}
		make -s B=$B "$bin" >"$COPY/log" 2>&1 || return 2
		timeout -k 5 120 "$bin" >"$COPY/log" 2>&1 || return 1
		;;
	*.sh)
		make -s B=$B all tools >"$COPY/log" 2>&1 || return 2
		B=$COPY/$B timeout -k 5 600 bash "$1" >"$COPY/log" 2>&1 || return 1
		! grep -qE '^1\.\.0' "$COPY/log" || return 2
		;;
	esac
	! grep -q '^not ok' "$COPY/log" || return 1
}

green_before() { # TEST
	if [ -z "${green[$1]-}" ]; then
		run_test "$1" && green[$1]=yes || green[$1]=no
	fi
	[ "${green[$1]}" = yes ]
}

one() { # PATCH
	local patch=$1 name test tests rc
	name=$(basename "$patch" .patch)
	tests=$(sed -n 's/^Test: *//p' "$patch")
	[ -n "$tests" ] || { result "not ok" "$name" "names no test"; return; }
	for test in $tests; do
		green_before "$test" || { result "not ok" "$name" "$test is red without it"; return; }
	done
	if ! patch -s -p1 --dry-run <"$patch" >/dev/null 2>&1; then
		result "not ok" "$name" "does not apply any more"
		return
	fi
	patch -s -p1 <"$patch"
	for test in $tests; do
		run_test "$test"
		rc=$?
		case $rc in
		0) result "not ok" "$name: $test" "did not notice: $(sed -n 's/^Point: *//p' "$patch")" ;;
		1) result ok "$name: $test turns red" ;;
		*) result "not ok" "$name: $test" "does not build: $(tail -n 3 "$COPY/log")" ;;
		esac
	done
	patch -s -R -p1 <"$patch"
}

for patch in tests/mutants/*${1-}*.patch; do
	[ -e "$patch" ] && one "$patch"
done
echo "1..$n"
exit $bad
