#!/bin/bash
# SPDX-License-Identifier: MIT
# What is documented is what there is: options in --help and in the man page, their defaults, targets and
# files that README and docs name. Needs no namespace and no root.
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

[ -x "$WEIR" ] || { echo "1..0 # SKIP $WEIR is not built"; exit 0; }

help=$("$WEIR" run --help)
man=$(sed -n '/^# OPTIONS OF RUN/,/^# EXIT STATUS/p' docs/weir.1.scd)
help_options=$(grep -oE '^ +(-[a-z], )?--[a-z0-9-]+' <<<"$help" | grep -oE -- '--[a-z0-9-]+' | sort)
man_options=$(grep -E '^\*-' <<<"$man" | grep -oE -- '--[a-z0-9-]+' | sort)
check "help names options" "$([ "$(wc -w <<<"$help_options")" -ge 10 ] || echo "found: $help_options")"
check "help and man page have the same options" "$(diff <(echo "$help_options") <(echo "$man_options"))"

help_letters=$(grep -oE '^ +-[a-z],' <<<"$help" | tr -d ' ,' | sort)
man_letters=$(grep -oE '^\*-[a-z]\*' <<<"$man" | tr -d '*' | sort)
check "short options as well" "$(diff <(echo "$help_letters") <(echo "$man_letters"))"

# "(default: 30)" and "(default 30)"; line breaks do not matter
defaults() { tr '\n' ' ' | tr -s ' \t' ' ' | grep -oE '\(?default:? [0-9]+[kmg]?' | grep -oE '[0-9]+[kmg]?$' | sort; }
check "the same defaults" "$(diff <(defaults <<<"$help") <(defaults <<<"$man"))"

# a program must not be able to tell that an option of the man page is refused
refused=
for o in $man_options; do
	err=$("$WEIR" run "$o=" -- true 2>&1 </dev/null | grep -iE 'unknown|unrecognized|no such option')
	[ -z "$err" ] || refused+="$o: $err"$'\n'
done
check "no documented option is unknown" "$refused"

usage=$("$WEIR" --help)
missing=
for c in $(grep -oE '^\*weir [a-z]+\*' docs/weir.1.scd | tr -d '*' | awk '{ print $2 }' | sort -u); do
	grep -qE "^ +weir $c\b" <<<"$usage" || missing+="$c "
done
check "weir --help names each command of the man page" "$missing"

missing=
for f in $(grep -ohE '`(src|stack|docs|scripts|tests)/[a-zA-Z0-9_./-]+`' README.md docs/*.md | tr -d '`' | sort -u); do
	[ -e "$f" ] || missing+="$f "
done
check "files that the documents name exist" "$missing"

missing=
for t in $(grep -ohE '(`|&& )make [a-z-]+' README.md docs/*.md | awk '{ print $NF }' | sort -u); do
	grep -qE "^[a-z -]*\b$t\b[a-z -]*:" Makefile || missing+="$t "
done
check "make targets that the documents name exist" "$missing"

if command -v scdoc >/dev/null; then
	check "the man page compiles" "$(scdoc <docs/weir.1.scd 2>&1 >/dev/null)"
fi
echo "1..$n"
exit $bad
