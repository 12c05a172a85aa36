#!/bin/bash
# SPDX-License-Identifier: MIT
# What `make install` puts where, and the systemd units among it. Needs no namespace and no root.
TOP=$(cd "$(dirname "$0")/../.." && pwd)
B=${B:-build/release}
case $B in /*) ;; *) B=$TOP/$B ;; esac
WEIR=${WEIR:-$B/weir}
cd "$TOP" || exit 1
n=0
bad=0

check() { # NAME DIFFERENCE: passes when there is none
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		sed 's/^/#   /' <<<"$2"
		bad=1
	fi
}

skip() { # NAME REASON
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

[ -x "$WEIR" ] || { echo "1..0 # SKIP $WEIR is not built"; exit 0; }
command -v scdoc >/dev/null || { echo "1..0 # SKIP needs scdoc"; exit 0; }
TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT
ROOT=$TMP/root
UNITS=$ROOT/usr/lib/systemd/system

# --- what is installed --------------------------------------------------------------------------

out=$(umask 027 && make -s install DESTDIR="$ROOT" PREFIX=/usr B="$B" 2>&1) || failed=yes
check "make install DESTDIR=" "${failed:+$out}"

want='755 usr/bin/weir
644 usr/include/weir/hook.h
644 usr/lib/systemd/system/weir-lockdown.service
644 usr/lib/systemd/system/weir.service
644 usr/lib/sysusers.d/weir.conf'
for f in "$B"/hooks/*.so; do [ ! -e "$f" ] || want+=$'\n'"644 usr/lib/weir/hooks/${f##*/}"; done
for f in docs/*.scd; do
	f=$(basename "$f" .scd)
	want+=$'\n'"644 usr/share/man/man${f##*.}/$f"
done
for f in LICENSE README.md CHANGELOG.md docs/*.md; do want+=$'\n'"644 usr/share/doc/weir/$(basename "$f")"; done
check "these files with these modes, no others" \
	"$(diff <(sort <<<"$want") <(cd "$ROOT" && find . -type f -printf '%m %P\n' | sort))"
# what `make install` did not fill in: @NAME@ in capitals, which no system call group is
check "no placeholder is left in the units" "$(grep -nE '@[A-Z]+@' "$UNITS"/*.service)"
check "they start the program where it is" "$(grep -hE '^Exec(Start|Stop)' "$UNITS"/*.service | grep -v '=/usr/bin/weir ')"

other=$TMP/other
make -s install DESTDIR="$other" PREFIX=/opt/weir UNITDIR=/etc/units SYSUSERSDIR=/etc/users B="$B" >/dev/null 2>&1
check "other places" "$(for f in opt/weir/bin/weir etc/units/weir.service etc/users/weir.conf; do
	[ -e "$other/$f" ] || echo "no $f"
done)$(grep -h '^ExecStart=' "$other"/etc/units/weir.service | grep -v '=/opt/weir/bin/weir ')"

# --- what the units say ----------------------------------------------------------------------------

# every command line of the units is one that weir takes; --help of the subcommand ends before it acts
wrong=
while read -r line; do
	# shellcheck disable=SC2086
	set -- ${line#*/usr/bin/weir }
	case $1 in
	up) "$WEIR" "$@" --no-config --help >/dev/null 2>"$TMP/err" || wrong+="$line: $(cat "$TMP/err")"$'\n' ;;
	down) "$WEIR" "$@" --runtime-dir "$TMP/none" >/dev/null 2>"$TMP/err" || wrong+="$line: $(cat "$TMP/err")"$'\n' ;;
	*) wrong+="$line"$'\n' ;;
	esac
done < <(grep -hE '^Exec(Start|Stop)' "$UNITS"/*.service)
check "command lines are understood" "$wrong"

# the supervisor's own filter must not promise what the unit's denies
calls_of() { # UNIT: names, groups resolved
	local word
	for word in $(sed -n 's/^SystemCallFilter=//p' "$UNITS/$1.service"); do
		case $word in
		@*) group "$word" ;;
		*) echo "$word" ;;
		esac
	done | sort -u
}

group() { # @NAME: with the groups in it
	local word
	for word in $(systemd-analyze --no-pager syscall-filter "$1" 2>/dev/null | sed '1d; s/#.*//'); do
		case $word in
		@*) group "$word" ;;
		*) echo "$word" ;;
		esac
	done
}

if ! command -v systemd-analyze >/dev/null; then
	for t in "units are valid" "exposure" "system calls"; do skip "$t" "needs systemd-analyze"; done
else
	# verify looks for the programs on this machine
	mkdir "$TMP/verify"
	for u in weir weir-lockdown; do
		sed "s|=/usr/bin/weir |=$ROOT/usr/bin/weir |" "$UNITS/$u.service" >"$TMP/verify/$u.service"
	done
	for u in weir weir-lockdown; do
		# dependencies of a machine without systemd are not ours to judge
		out=$(SYSTEMD_UNIT_PATH="$TMP/verify:" systemd-analyze verify --man=no --recursive-errors=no \
			"$TMP/verify/$u.service" 2>&1 | grep -F "$u.service")
		check "$u.service is valid" "$out"
	done
	if ! systemd-analyze security --offline=true "$UNITS/weir.service" >/dev/null 2>&1; then
		skip "exposure" "this systemd-analyze looks at running units only"
	else
		for limit in weir:42 weir-lockdown:30; do # tenths
			out=$(systemd-analyze security --no-pager --offline=true --threshold="${limit#*:}" \
				"$UNITS/${limit%:*}.service" 2>&1) && out= || out=$(grep -E '✗|exposure|xposure' <<<"$out")
			check "exposure of ${limit%:*}.service is at most ${limit#*:} of 100" "$out"
		done
	fi
	if [ -z "$(group @system-service)" ]; then
		skip "system calls" "this systemd-analyze lists no system calls"
	else
		# names that only other architectures or newer systemd have are not in its groups
		known=$(systemd-analyze --no-pager syscall-filter 2>/dev/null | grep -oE '^ +[a-z0-9_]+$' | tr -d ' ' | sort -u)
		ours=$(sed -n '/^static const int allowed\[\]/,/^}/p' src/isolate_supervisor.c |
			grep -oE 'SCMP_SYS\([a-z0-9_]+' | sed 's/.*(//' | sort -u)
		check "weir.service allows the system calls that the supervisor needs" \
			"$(comm -23 <(comm -12 <(echo "$ours") <(echo "$known")) <(calls_of weir))"
	fi
fi

# --- the rest --------------------------------------------------------------------------------------

if command -v systemd-sysusers >/dev/null; then
	mkdir -p "$TMP/users/etc"
	out=$(systemd-sysusers --root="$TMP/users" "$ROOT/usr/lib/sysusers.d/weir.conf" 2>&1) && out=
	check "the user is made where there is none" \
		"$out$(grep -qE '^weir:' "$TMP/users/etc/passwd" || echo "no user weir")"
else
	skip "the user" "needs systemd-sysusers"
fi
echo "1..$n"
exit $bad
