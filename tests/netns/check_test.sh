#!/bin/bash
# SPDX-License-Identifier: MIT
# weir check: what it says of rules and flows, and its exit status. Needs no root.
TOP=$(cd "$(dirname "$0")/../.." && pwd)
B=${B:-build/release}
case $B in /*) ;; *) B=$TOP/$B ;; esac
WEIR=${WEIR:-$B/weir}
n=0
bad=0

ok() { # STATUS NAME: as `ok`, by the status of the last command
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		sed 's/^/#   /' <<<"$out"
		bad=1
	fi
}

is() { # NAME WANTED: what the last command said
	[ "$out" = "$2" ]
	ok $? "$1"
	[ "$out" = "$2" ] || diff <(echo "$2") <(echo "$out") | sed 's/^/#   /'
}

check() { # ARGS: sets out and status
	out=$("$WEIR" check "$@" 2>&1 </dev/null)
	status=$?
}

[ -x "$WEIR" ] || { echo "1..0 # SKIP $WEIR is not built"; exit 0; }
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
cd "$DIR" || exit 1
mkdir lists more

cat >host.rules <<END
# what this host may do
set ads = file "lists/ads.txt"
set web = { 80, 443 }
include more/root.rules
block if host in ads
hook match if app == http and user == root
tag seen if comm ~ "curl*"
allow if dst.port in web
default drop
END
echo 'drop if uid == 0 and dst.port == 25' >more/root.rules
printf '0.0.0.0 ads.example\n.tracker.example\n' >lists/ads.txt

check host.rules
[ $status = 0 ]
ok $? "rules without errors: status 0"
is "sets, rules in normal form, what they wait for, the default" \
	'host.rules:2: set ads: 2 host names, of lists/ads.txt (152 bytes)
host.rules:3: set web: 2 ranges of numbers (40 bytes)
more/root.rules:1: drop if uid == 0 and dst.port == 25
	waits for whose socket it is
host.rules:5: block if host in ads
	waits for the first payload
host.rules:6: hook match if app == "http" and user == 0
	waits for whose socket it is and the first payload
host.rules:7: tag seen if comm ~ "curl*"
	needs whose socket it is
host.rules:8: allow if dst.port in web
host.rules:9: default drop
5 rules, 2 sets, 0 warnings'

check --flow 'uid=1000 dst=203.0.113.5:443 proto=tcp sni=x.tracker.example app=tls' host.rules
[ $status = 0 ]
ok $? "a flow: status 0"
is "each rule up to the one that decides" \
	'more/root.rules:1:   no       drop if uid == 0 and dst.port == 25
host.rules:5:        yes      block if host in ads
=> block, by host.rules:5'

check '--flow=uid=1000 dst=203.0.113.5:443 proto=tcp' host.rules
is "... or up to the one that waits" \
	'more/root.rules:1:   no       drop if uid == 0 and dst.port == 25
host.rules:5:        unknown  block if host in ads
                     not known yet: host
=> wait for the first payload, by host.rules:5'

check --flow 'user=root dst=203.0.113.5:443 host=- app=-' host.rules
[[ $out == *'=> allow, by host.rules:8' ]]
ok $? "none of something is known, too"
check --flow 'user=root dst=203.0.113.5:444 host=- app=-' host.rules
[[ $out == *'=> drop, the default of host.rules:9' ]]
ok $? "the default"

printf 'allow\nblock if uid == 1\n' >late.rules
check late.rules
[[ $status = 0 && $out == *'WARNING: never reached: late.rules:1 always decides'*', 1 warning' ]]
ok $? "a rule that is never reached: a warning"

if out=$("$WEIR" run -q -- true 2>&1 </dev/null); then
	out=$("$WEIR" run -q --rules late.rules -- true 2>&1 </dev/null)
	[ "$out" = 'weir: late.rules:2: never reached: late.rules:1 always decides' ]
	ok $? "... which weir run says as well"
	{ echo allow; yes 'tag x' | head -n 15; } >many.rules
	out=$("$WEIR" run -q --rules many.rules -- true 2>&1 </dev/null)
	[[ $(wc -l <<<"$out") = 11 && $out == *'weir: 5 more warnings: see weir check' ]]
	ok $? "... up to ten of them"
fi

printf 'allow if dst.port == 80\n\tblock if dst.port == web\n' >bad.rules
check bad.rules
[ $status = 2 ]
ok $? "an error: status 2"
[[ $(sed -n 1p <<<"$out") == bad.rules:2:23:\ * && $(sed -n 2p <<<"$out") == ' block if dst.port == web' &&
	$(sed -n 3p <<<"$out") == '                      ^^^' && $(wc -l <<<"$out") = 3 ]]
ok $? "... with its place, the line and carets"

check none.rules
[[ $status = 2 && $out == 'none.rules: No such file or directory' ]]
ok $? "no such file"
check .
[[ $status = 2 && $out == '.: Is a directory' ]]
ok $? "a directory"
echo 'include none.rules' >inc.rules
check inc.rules
[[ $status = 2 && $out == 'inc.rules:1:9: none.rules can'\''t be read: No such file or directory'* ]]
ok $? "no such file included"
echo 'block if user == no-such-user' >user.rules
check user.rules
[[ $status = 2 && $out == user.rules:1:18:* ]]
ok $? "no such user"
check --flow uid=1 --flow dst.port=80 host.rules
[[ $status = 2 && $out == 'weir: --flow is given twice'* ]]
ok $? "two flows, of which only one would be looked at"
check --flow 'uid=x' host.rules
[[ $status = 2 && $out == 'weir: --flow: x: '* ]]
ok $? "a flow that is none"
for args in '' '--flow uid=1' '--flw x host.rules' 'host.rules bad.rules' 'host.rules --flow'; do
	# shellcheck disable=SC2086
	check $args
	[[ $status = 2 && $(wc -l <<<"$out") = 1 ]]
	ok $? "wrong usage: check $args"
done
check /dev/stdin
[[ $status = 0 && $out == 'default allow, as none is stated'* ]]
ok $? "rules that come by a pipe"

# a million names load in seconds, and are found
seq -f 'host%.0f.ads.example' 1000000 >lists/million.txt
echo 'set m = file lists/million.txt
block if host in m' >million.rules
start=$(date +%s%N)
check --flow host=host777777.ads.example million.rules
took=$((($(date +%s%N) - start) / 1000000))
[[ $status = 0 && $out == *'=> block, by million.rules:2' && $took -lt 5000 ]]
ok $? "a million names ($took ms)"
echo "1..$n"
exit $bad
