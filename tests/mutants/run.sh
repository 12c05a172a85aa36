#!/bin/bash
# SPDX-License-Identifier: MIT
# run.sh [NAME]... - breaks weir on purpose, one small patch at a time, and wants a test to turn red.
#
# NAME is part of a patch's name; none means all. QUICK=1: only what unit and stack tests notice
# (no root, no namespaces). JOBS=N at once (2). KEEP=1 leaves the copies in build/mutants.
#
# tests/mutants/NN-name.patch, NN being the number of the promise in docs, starts with
#
#	# point: what is broken
#	# test: tests/unit/x_test.c
#	# test: ONLY=text tests/netns/x_test.sh -> pattern
#
# and goes on with a unified diff of little context. A test is a unit or stack test, or a script with
# what it needs in its environment. The first one that turns red will do, so the cheapest stands
# first. With a pattern the red line must match it; without one any line is as good. A test
# that dies or hangs is red, too.
#
# How: a copy of the tree is built once, every test that is named must be green there (as far as its
# pattern goes), and each patch is tried in a copy of that copy, where little is left to be compiled.
# TAP: `not ok` is a mutant that nobody noticed, that does not apply or does not build, and a
# test that is red without any mutant. A test that cannot run here (no root) is skipped.
set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
WORK=${WORK:-$TOP/build/mutants}
BASE=$WORK/base
B=build/m
UNIT_LIMIT=${UNIT_LIMIT:-180}
SCRIPT_LIMIT=${SCRIPT_LIMIT:-300}
export LC_ALL=C
unset MAKEFLAGS MFLAGS # the builds are our own

# --- one test -----------------------------------------------------------------------------------

build() { # TREE TARGET...: quietly, the reason of a failure in TREE/log
	local tree=$1
	shift
	make -s -C "$tree" ${CC:+CC="$CC"} B=$B CFLAGS="-O1 -w" "$@" >"$tree/log" 2>&1
}

# alone COMMAND...: in a PID namespace, with names of network namespaces and a /tmp of its own: a
# broken weir may leave anything behind, and all of it ends with the command, or when that is killed
alone() {
	[ "$(id -u)" = 0 ] || exec "$@"
	exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc -- sh -c '
		mkdir -p /run/netns
		mount -t tmpfs -o mode=755 tmpfs /run/netns && mount --make-shared /run/netns
		case $PWD in /tmp/*) ;; *) mount -t tmpfs -o mode=1777 tmpfs /tmp ;; esac
		"$@"' sh "$@"
}

PID= # of the test that runs, so that an interrupt ends it as well
TREE=
tidy() {
	[ -z "$PID" ] || kill -KILL "$PID" 2>/dev/null
	[ -z "$TREE" ] || [ -n "${KEEP-}" ] || rm -rf "$TREE"
}

# script TREE OUT PATTERN [VARIABLE=VALUE]... TEST: over at the first red line that matches PATTERN
script() {
	local tree=$1 out=$2 pattern=$3 end=$((SECONDS + SCRIPT_LIMIT)) test=${*: -1}
	set -- "${@:4:$#-4}"
	: >"$out"
	(cd "$tree" && alone env "$@" B="$tree/$B" WEIR="$tree/$B/weir" setsid -w bash "$test") \
		>"$out" 2>"$out.err" </dev/null &
	PID=$!
	while kill -0 $PID; do
		if [ $SECONDS -ge $end ] || { [ -n "$pattern" ] && grep -qE "^not ok .*($pattern)" "$out"; }; then
			kill -KILL $PID
		fi
		sleep 0.1
	done 2>/dev/null
	PID=
}

# unit_of SCRIPT: the unit tests' programs that it runs, which would be those of before otherwise
unit_of() { grep -oE 'tests/unit/[a-z_]+' "$1" | sort -u | sed "s|^|$B/|"; }

# run_test TREE SPEC OUT [PATTERN]: what the test prints goes to OUT; fails when it does not build
run_test() {
	local tree=$1 out=$3 pattern=${4-}
	eval "set -- $2"
	local test=${*: -1}
	case $test in
	*.c)
		build "$tree" "$B/${test%.c}" || return 1
		{ (cd "$tree" && exec timeout -k 5 "$UNIT_LIMIT" "$B/${test%.c}") >"$out" 2>&1 </dev/null; } 2>/dev/null
		;;
	*.sh)
		build "$tree" all tools $(unit_of "$tree/$test") || return 1
		script "$tree" "$out" "$pattern" "$@"
		;;
	esac
	return 0
}

skipped() { grep -qE '^1\.\.0' "$1"; }                   # OUT
complete() { grep -qE '^1\.\.[1-9]' "$1"; }              # OUT
red_line() { grep -m1 -E "^not ok .*($2)" "$1"; }        # OUT PATTERN
green_line() { grep -qE "^ok .*($2)" "$1"; }             # OUT PATTERN

# --- without a mutant -----------------------------------------------------------------------------

green_file() { # SPEC: where the output of the unharmed tree is
	echo "$WORK/green/$(md5sum <<<"$1" | cut -c1-16)"
}

baseline() { # SPEC
	local out
	out=$(green_file "$1")
	run_test "$WORK/base" "$1" "$out" || { cp "$BASE/log" "$out"; echo "Bail out! does not build" >>"$out"; }
}

# green SPEC PATTERN: 0 = green, 1 = red (said), 2 = cannot run here (said)
green() {
	local out
	out=$(green_file "$1")
	if skipped "$out"; then
		sed -n 's/^1\.\.0 *# *[Ss][Kk][Ii][Pp] *//p' "$out"
		return 2
	fi
	red_line "$out" "$2" && return 1
	complete "$out" || { echo "$1 did not end: $(tail -n 1 "$out")"; return 1; }
	green_line "$out" "$2" || { echo "$1 has no line that matches"; return 1; }
}

# --- a mutant ---------------------------------------------------------------------------------------

header() { sed -n "s/^# $1: *//p" "$2"; } # KEY PATCH

specs() { # PATCH: SPEC<tab>PATTERN, one line each
	header test "$1" | sed -E '/ -> /!s/$/ -> /; s/ +-> */\t/' |
		if [ -n "${QUICK-}" ]; then grep -E '^tests/(unit|stack)/'; else cat; fi
}

say() { # STATUS NAME DETAIL: one line, for the numbering above
	printf '%s\t%s\t%s\n' "$1" "$2" "$(tr '\n\t' '| ' <<<"$3" | cut -c1-600)"
}

# try PATCH TREE: prints its line
try() {
	local patch=$1 tree=$2 name spec pattern why reason='no test' start=$SECONDS unnoticed=
	name=$(basename "$patch" .patch)
	if ! patch -s -f -F1 --no-backup-if-mismatch -p1 -d "$tree" <"$patch" >"$tree/log" 2>&1; then
		say "not ok" "$name" "the patch does not apply: $(cat "$tree/log")"
		return
	fi
	while IFS=$'\t' read -r spec pattern; do
		why=$(green "$spec" "$pattern")
		case $? in
		1) say "not ok" "$name" "red without it: $why"; return ;;
		2) reason="$spec: $why"; continue ;;
		esac
		if ! run_test "$tree" "$spec" "$tree/out" "${pattern:-.}"; then
			say "not ok" "$name" "does not build: $(grep -m2 error "$tree/log")"
			return
		fi
		if why=$(red_line "$tree/out" "$pattern"); then
			say ok "$name" "$((SECONDS - start)) s, ${spec##*/}: $why"
			return
		elif ! complete "$tree/out"; then
			say ok "$name" "$((SECONDS - start)) s, ${spec##*/} dies: $(tail -n 1 "$tree/out")"
			return
		fi
		unnoticed+="${spec##*/} "
	done < <(specs "$patch")
	if [ -n "$unnoticed" ]; then
		say "not ok" "$name" "nobody noticed ($unnoticed): $(header point "$patch")"
	else
		say skip "$name" "$reason"
	fi
}

one() { # PATCH
	TREE=$(mktemp -d "$WORK/tree.XXXXXX")
	cp -a --reflink=auto "$BASE/." "$TREE"
	try "$1" "$TREE"
}

# --- all of them --------------------------------------------------------------------------------------

# sync_base: the tree as it is now, untouched where nothing has changed, so that little is compiled
sync_base() {
	local f
	mkdir -p "$BASE" "$WORK/green"
	rm -rf "$WORK"/green/* "$WORK"/tree.*
	(cd "$TOP" && find . \( -path ./build -o -path ./.git \) -prune -o \( -type f -o -type l \) -print) |
		sort >"$WORK/files"
	(cd "$BASE" && find . -path ./build -prune -o \( -type f -o -type l \) -print) | sort |
		comm -13 "$WORK/files" - | while read -r f; do rm -f "$BASE/$f"; done
	while read -r f; do
		cmp -s "$TOP/$f" "$BASE/$f" && continue
		mkdir -p "$BASE/${f%/*}"
		cp "$TOP/$f" "$BASE/$f"
	done <"$WORK/files"
}

selected() { # NAME...: patches
	local patch name
	for patch in "$TOP"/tests/mutants/*.patch; do
		[ $# -gt 0 ] || set -- ''
		for name; do
			[[ ${patch##*/} == *$name* ]] || continue
			[ -z "$(specs "$patch")" ] || echo "$patch"
			break
		done
	done
}

# number: lines of say() to TAP
number() {
	local n=0 bad=0 status name detail
	while IFS=$'\t' read -r status name detail; do
		n=$((n + 1))
		case $status in
		skip) echo "ok $n - $name # SKIP $detail" ;;
		ok) printf 'ok %s - %s\n#   %s\n' $n "$name" "$detail" ;;
		*)
			bad=$((bad + 1))
			printf 'not ok %s - %s\n#   %s\n' $n "$name" "$detail"
			;;
		esac
	done
	echo "1..$n"
	echo "# $n mutants, $bad not noticed or broken, $SECONDS s"
	[ $bad = 0 ] && [ $n -gt 0 ]
}

trap tidy EXIT
trap 'exit 1' INT TERM HUP
case ${1-} in
--baseline) baseline "$2"; exit ;;
--one) one "$2"; exit ;;
esac

command -v patch >/dev/null || { echo "1..0 # SKIP needs patch"; exit 0; }
mapfile -t patches < <(selected "$@")
[ ${#patches[@]} -gt 0 ] || { echo "Bail out! no such mutant: $*"; exit 1; }
export WORK QUICK CC KEEP UNIT_LIMIT SCRIPT_LIMIT
mkdir -p "$WORK"
exec 9>"$WORK/lock"
flock -n 9 || { echo "Bail out! another run is at work in $WORK"; exit 1; }
sync_base

mapfile -t tests < <(for p in "${patches[@]}"; do specs "$p" | cut -f1; done | sort -u)
targets=(all tools)
[ -z "${QUICK-}" ] || targets=()
for t in "${tests[@]}"; do
	[[ $t != *.c ]] || targets+=("$B/${t%.c}")
done
make -s -C "$BASE" ${CC:+CC="$CC"} B=$B CFLAGS="-O1 -w" -j"${JOBS:-2}" "${targets[@]}" >&2 9>&- || {
	echo "Bail out! the tree does not build"
	exit 1
}
printf '%s\0' "${tests[@]}" | xargs -0 -P "${JOBS:-2}" -n 1 bash "$0" --baseline 9>&-
printf '%s\0' "${patches[@]}" | xargs -0 -P "${JOBS:-2}" -n 1 bash "$0" --one 9>&- | number
