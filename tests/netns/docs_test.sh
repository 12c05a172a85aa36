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
man=$(sed -n '/^# OPTIONS OF RUN/,/^# OPTIONS OF UP/p' docs/weir.1.scd)
help_options=$(grep -oE '^ +(-[a-z], )?--[a-z0-9-]+' <<<"$help" | grep -oE -- '--[a-z0-9-]+' | sort)
man_options=$(grep -E '^\*-' <<<"$man" | grep -oE -- '--[a-z0-9-]+' | sort)
check "help names options" "$([ "$(wc -w <<<"$help_options")" -ge 10 ] || echo "found: $help_options")"
check "help and man page have the same options" "$(diff <(echo "$help_options") <(echo "$man_options"))"

up_help=$("$WEIR" help up)
up_man=$(sed -n '/^# OPTIONS OF UP/,/^# EXIT STATUS/p' docs/weir.1.scd)
check "those of weir up, too" "$(diff <(grep -oE '^ +(-[a-z], )?--[a-z0-9-]+' <<<"$up_help" |
	grep -oE -- '--[a-z0-9-]+' | sort) <(grep -E '^\*-' <<<"$up_man" | grep -oE -- '--[a-z0-9-]+' | sort))"

help_letters=$(grep -oE '^ +-[a-z],' <<<"$help" | tr -d ' ,' | sort)
man_letters=$(grep -oE '^\*-[a-z]\*' <<<"$man" | tr -d '*' | sort)
check "short options as well" "$(diff <(echo "$help_letters") <(echo "$man_letters"))"

# "(default: 30)" and "(default 30)"; line breaks do not matter
defaults() { tr '\n' ' ' | tr -s ' \t' ' ' | grep -oE '\(?default:? [0-9]+[kmg]?' | grep -oE '[0-9]+[kmg]?$' | sort; }
check "the same defaults" "$(diff <(defaults <<<"$help") <(defaults <<<"$man"))"
# those of the shared options are in the other section
up_help_own=$(sed '/--udp-filter BY/,$d' <<<"$up_help")
check "... of weir up" "$(diff <(defaults <<<"$up_help_own") <(defaults <<<"$up_man"))"

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
for f in $(grep -ohE '`[a-z0-9_]+\.[ch]`' README.md docs/*.md | tr -d '`' | sort -u); do
	[ -e "src/$f" ] || [ -e "stack/$f" ] || missing+="$f "
done
check "files that the documents name exist" "$missing"

missing=
for f in $(grep -ohE '`[a-z0-9_]+\(\)`' README.md docs/*.md | tr -d '`()' | sort -u); do
	case $f in listen | connect | recv | send | shutdown | socket) continue ;; esac
	grep -qE "\\b$f\\(" src/*.h stack/*.h || missing+="$f "
done
check "functions that the documents name exist" "$missing"

# options of `weir run` in examples; those after "--" are COMMAND's own
unknown=
for o in $(grep -hE '(^|[ `])weir run ' README.md docs/*.md docs/weir.1.scd | sed 's/.*weir run //; s/\(^\| \)-- .*//' |
	grep -oE -- '--[a-z][a-z-]+' | sort -u); do
	grep -qx -- "$o" <<<"$help_options" || unknown+="$o "
done
check "options in examples exist" "$unknown"

log=$(sed -n '/^# FLOW LOG/,/^# FILES/p' docs/weir.1.scd)
missing=
for k in $(grep -oE '(set_[a-z]+|object_set_new)\([a-z]+, "[a-z_]+"' src/record_json.c | grep -oE '[a-z_]+"' |
	tr -d '"' | sort -u); do
	grep -qE "(^|[^a-z])$k([^a-z]|$)" <<<"$log" || missing+="$k "
done
check "the man page has every field of the flow log" "$missing"

missing=
for k in $(sed -n '/reason_texts\[FLOW_REASON_MAX\]/,/^}/p' src/flow.c | grep -oE '"[a-z-]+"' | tr -d '"'); do
	grep -q "_${k}_" <<<"$log" || missing+="$k "
done
check "... and every reason" "$missing"

# NUMBER FILE REGEX: what docs/ say in figures is what the source says
figures='16,384|src/owner_proc.c|OWNER_KEEP\s+16384\b
262,140|stack/tcp_engine.c|RECV_WINDOW\s+\(4 \* 65535\)
4096|src/worker.h|WORKER_NAMES_MAX 4096\b
16 MiB|src/outbox.h|OUTBOX_MAX \(16 << 20\)
8 MiB|src/sink.c|QUEUE_MAX \(8u << 20\)
4 MiB|src/intercept.c|reass_bytes_max = 4 << 20
64 packets|src/intercept.c|TUN_BATCH 64\b
64 events|src/intercept.h|INTERCEPT_BATCH 64\b
32 in a message|src/ipc.h|IPC_BATCH 32\b
4 reads (of up to 256 KiB)|src/relay_tcp_pump.c|DOWN_READS_MAX 4\b
4 reads (of up to 256 KiB)|src/relay_tcp.h|RELAY_TCP_BUFS 4\b
16 KiB or more|src/relay_tcp_pump.c|SHARE_MIN 16384\b'
wrong=
text=$(cat docs/*.md | tr -s ' \n' ' ') # line breaks do not matter
while IFS='|' read -r number file regex; do
	grep -qF "$number" <<<"$text" || wrong+="$number is not in docs/"$'\n'
	grep -qE "$regex" "$file" || wrong+="$number is not what $file says"$'\n'
done <<<"$figures"
check "figures are those of the source" "$wrong"

missing=
for t in $(grep -ohE '(`|&& )make [a-z-]+' README.md docs/*.md | awk '{ print $NF }' | sort -u); do
	grep -qE "^[a-z -]*\b$t\b[a-z -]*:" Makefile || missing+="$t "
done
check "make targets that the documents name exist" "$missing"

# --- examples of rules -----------------------------------------------------------------------------

DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
mkdir "$DIR/lists"
echo 'a.example' | tee "$DIR"/ads.txt "$DIR"/names.txt >"$DIR/lists/ads.txt"
echo '10.0.0.0/8' >"$DIR/lists/drop.txt"
echo 'allow if dst.port == 22' >"$DIR/local.rules"
# each code block as a file: RULES.N of rules, EXPR.N of an expression, SHOWN.N of what weir says
sed 's/\balice\b/root/g' docs/weir-rules.5.scd | awk -v dir="$DIR" '
	/^# / { language = $0 == "# FILTER LANGUAGE" }
	/^```/ { inside = !inside; if (inside) { n++; kind = "" } next }
	inside && !kind { kind = /^\$ / ? "SHOWN" : !language ? "RULES" : /^[a-z]+.rules:/ ? "ERROR" : "EXPR" }
	inside { print > (dir "/" kind "." n) }'
sed -n '/^# build.rules/,/^```/{/^```/d; p}' README.md >"$DIR/RULES.readme"
wrong=
for f in "$DIR"/RULES.*; do
	out=$(cd "$DIR" && "$WEIR" check "$f" 2>&1) || wrong+="$out"$'\n'
	! grep -q 'WARNING' <<<"$out" || wrong+="$out"$'\n'
done
for f in "$DIR"/EXPR.*; do
	grep -q 'tcp\.flags' "$f" && continue # of packets
	out=$(cd "$DIR" && (printf 'allow if '; cat "$f") | "$WEIR" check /dev/stdin 2>&1) || wrong+="$out"$'\n'
done
check "examples of rules and expressions are right" "$wrong"
check "... as many as there should be" \
	"$([ "$(ls "$DIR"/RULES.* "$DIR"/EXPR.* | wc -l)" -ge 14 ] || ls "$DIR")"

cat >"$DIR/host.rules" <<END

set ads = file ads.txt

block if host in ads
allow if user == 1000 and dst.port in {53, 80, 443}
block
log note
END
wrong=
for f in "$DIR"/SHOWN.*; do
	command=$(sed -n '1s/^\$ weir //p' "$f")
	wrong+=$(diff <(sed '1d; /: set ads:/d' "$f") <(cd "$DIR" && eval "'$WEIR' $command" 2>&1 | sed '/: set ads:/d'))
done
check "what weir check is shown to say is what it says" "$wrong"

if command -v scdoc >/dev/null; then
	for page in docs/*.scd; do
		check "$page compiles" "$(scdoc <"$page" 2>&1 >/dev/null)"
		command -v man >/dev/null || continue
		check "... and renders without a complaint" \
			"$(scdoc <"$page" | man --warnings -E UTF-8 -l - 2>&1 >/dev/null)"
	done
fi
echo "1..$n"
exit $bad
