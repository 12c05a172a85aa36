#!/bin/bash
# SPDX-License-Identifier: MIT
# rtnl_test.sh: rules, routes, tables and their mirror on a "host" with two uplinks and a VPN.
#
#   $H                                       $N
#   u1 10.1.0.2/24 fd01::2 2001:db8:1::2 --- n1 10.1.0.1   default route of table main
#   u2 10.2.0.2/24 fd02::2  mtu 1400     --- n2 10.2.0.1   default route of table 102, from 10.2.0.2
#   wg 10.3.0.2/32 fd03::2  mtu 1380     (TUN) default route of table 51, for what has no mark 51
#   weir0 192.0.2.1/32 fd99::1/128       (TUN) our device; table 7771 is its mirror
. "$(dirname "$0")/lib.sh"

TOOL=${B:-build/release}/tests/netns/host_tool
[ -x "$TOOL" ] || skip_all "host_tool is not built: make tools"
H=rh$$ N=rn$$
T=7771

h() { in_ns "$H" "$@"; }
tool() { in_ns "$H" timeout 60 "$TOOL" "$@" 2>"$TMP/err"; }
table() { h ip "-$1" route show table $T | sed 's/ *$//; s/ linkdown//; s/ pref medium//; s/ metric 1024//' | sort; }
mirror() { tool mirror table=$T dev=weir0 uid=900; }

uplink() { # DEVICE PEER MTU
	ip link add "$1" netns "$H" mtu "$3" type veth peer name "$2" netns "$N" &&
		in_ns "$N" ip link set "$2" up && h ip link set "$1" up
}

tun() { # DEVICE MTU
	h ip tuntap add "$1" mode tun && h ip link set "$1" up mtu "$2"
}

addresses() { # DEVICE ADDRESS...
	local dev=$1 a
	shift
	for a in "$@"; do
		case $a in
		*:*) h ip addr add "$a" dev "$dev" nodad ;;
		*) h ip addr add "$a" dev "$dev" ;;
		esac || return
	done
}

# no link-local addresses: what the kernel does by itself would be heard
quiet() {
	h sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/addr_gen_mode'
}

build() {
	netns_new "$H" && netns_new "$N" && quiet && h ip link set lo up &&
		uplink u1 n1 1500 && uplink u2 n2 1400 && tun wg 1380 && tun weir0 1500 &&
		in_ns "$N" ip addr add 10.1.0.1/24 dev n1 && in_ns "$N" ip addr add 10.2.0.1/24 dev n2 &&
		addresses u1 10.1.0.2/24 fd01::2/64 2001:db8:1::2/64 &&
		addresses u2 10.2.0.2/24 fd02::2/64 &&
		addresses wg 10.3.0.2/32 fd03::2/128 &&
		addresses weir0 192.0.2.1/32 fd99::1/128 &&
		h ip route add default via 10.1.0.1 && h ip -6 route add default via fd01::1 &&
		h ip route add default via 10.2.0.1 table 102 && h ip rule add pref 200 from 10.2.0.2 lookup 102
}
build || skip_all "the namespaces can't be made"

# --- rules ---------------------------------------------------------------------------------

full="pref=1010 uid=1000-1999 iif=lo proto=6 dport=80-443 mark=0x10000000/0x30000000 table=$T"
tool rule-add pref=1000 uid=900 goto=1099 -- rule-add pref=1099 -- \
	rule-add $full to=10.0.0.0/8 -- rule-add v6=1 $full to=fd00::/8 -- \
	rule-add pref=1011 dport=53 proto=17 table=$T -- rule-add pref=1012 uid=0-4294967294 table=300 \
	-- rule-add pref=1013 mark=0/0x30000000 table=9 >"$TMP/out"
is "$(sort -u "$TMP/out")" "rule-add ok" "rules of each kind are added"
is "$(h ip rule | sed -n 's/ *$//; /^1[0-9][0-9][0-9]:/p')" "1000:	from all uidrange 900-900 goto 1099 proto 119
1010:	from all to 10.0.0.0/8 fwmark 0x10000000/0x30000000 iif lo uidrange 1000-1999 ipproto tcp dport 80-443 lookup $T proto 119
1011:	from all ipproto udp dport 53 lookup $T proto 119
1012:	from all uidrange 0-4294967294 lookup 300 proto 119
1013:	from all fwmark 0/0x30000000 lookup 9 proto 119
1099:	from all nop proto 119" "ip rule shows them as they were meant"
is "$(h ip -6 rule | sed -n 's/ *$//; /^1[0-9][0-9][0-9]:/p')" \
	"1010:	from all to fd00::/8 fwmark 0x10000000/0x30000000 iif lo uidrange 1000-1999 ipproto tcp dport 80-443 lookup $T proto 119" \
	"so does ip -6 rule"
is "$(tool rules)" "ours v4 pref=1000 uid=900-900 goto=1099
ours v4 pref=1010 uid=1000-1999 mark=0x10000000/0x30000000 iif=lo proto=6 to=10.0.0.0/8 dport=80-443 table=$T
ours v4 pref=1011 proto=17 dport=53-53 table=$T
ours v4 pref=1012 uid=0-4294967294 table=300
ours v4 pref=1013 mark=0x0/0x30000000 table=9
ours v4 pref=1099 nop
ours v6 pref=1010 uid=1000-1999 mark=0x10000000/0x30000000 iif=lo proto=6 to=fd00::/8 dport=80-443 table=$T" \
	"they are read back as they were written"
is "$(tool rule-add pref=1099)" "rule-add EEXIST" "a rule is there once"

# a person's rules: the same without our protocol; with a selector that we don't know
h ip rule add pref 1099 nop
h ip rule add pref 1011 ipproto udp dport 53 lookup $T
is "$(tool rule-del pref=1099 -- rule-del pref=1099)" "rule-del ok
rule-del ENOENT" "a person's equal rule is not deleted in place of ours"
h ip rule add pref 1100 from 10.9.9.9 lookup 9 protocol 119
like "$(tool rules all=1)" '^other v4 pref=1100 table=9$' "a rule that says more than we can is not ours"
is "$(tool rule-del pref=1100 table=9)" "rule-del ENOENT" "nor is it deleted"
h ip rule del pref 1100

# what the kernel would take for the same
tool rule-add pref=1020 uid=5 table=7 -- rule-add pref=1020 proto=6 table=7 -- rule-add pref=1020 table=7 >/dev/null
is "$(tool rule-del pref=1020 table=7)" "rule-del ok" "a wide rule behind narrow ones of its pref"
is "$(h ip rule | sed -n 's/ *$//; /^1020:/p')" "1020:	from all uidrange 5-5 lookup 7 proto 119
1020:	from all ipproto tcp lookup 7 proto 119" "...is deleted, and they are not"
is "$(tool rule-del pref=1020 uid=6 table=7)" "rule-del ENOENT" "another uid is another rule"
is "$(tool rule-del pref=1012 uid=0-4294967294 table=301)" "rule-del ENOENT" "another table, too"
is "$(tool rules-del -- rules)" "rules-del 8" "all of ours are deleted while they are listed"
is "$(h ip rule | sed 's/ *$//')" "0:	from all lookup local
200:	from 10.2.0.2 lookup 102
1011:	from all ipproto udp dport 53 lookup $T
1099:	from all nop
32766:	from all lookup main
32767:	from all lookup default" "others' rules are left"
h ip rule del pref 1011
h ip rule del pref 1099
is "$(tool rule-add pref=1 to=fd00::/8 table=9)" "rule-add EINVAL" "an IPv4 rule to an IPv6 prefix is refused"

# --- routes --------------------------------------------------------------------------------

is "$(tool route-replace table=$T dst=10.50.0.0/16 dev=weir0 src=10.1.0.2 mtu=1300 \
	-- route-replace table=$T dst=10.50.0.0/16 dev=weir0 src=10.2.0.2 -- route-replace table=$T type=throw dst=10.51.0.0/16 \
	-- route-replace v6=1 table=$T dst=fd50::/16 dev=weir0 src=fd01::2 mtu=1300 \
	-- route-replace v6=1 table=$T type=prohibit dst=fd51::/16 \
	-- route-replace v6=1 table=$T type=blackhole dst=fd50::/16 \
	-- route-replace table=$T type=unreachable metric=4294967295 \
	-- route-replace v6=1 table=$T type=unreachable metric=4294967295 -- table table=$T | grep -v ' ok$')" \
	"route table=$T unreachable 0.0.0.0/0 metric 4294967295
route table=$T unicast 10.50.0.0/16 dev weir0 src 10.2.0.2
route table=$T throw 10.51.0.0/16
route table=$T blackhole fd50::/16
route table=$T prohibit fd51::/16
route table=$T unreachable ::/0 metric 4294967295" "routes are added and replaced, and read back"
h ip route add 10.52.0.0/16 dev weir0 table $T
is "$(tool route-del table=$T dst=10.52.0.0/16 dev=weir0)" "route-del ESRCH" "a person's route is not deleted"
is "$(tool route-del v6=1 table=$T type=blackhole)" "route-del ESRCH" "the default with another metric is not, either"
is "$(tool flush table=$T -- flush table=$T)" "flush 4
flush 0" "a flush takes what comes and goes"
is "$(table 4)
$(table 6)" "10.52.0.0/16 dev weir0 scope link
unreachable default proto 119 metric 4294967295
unreachable default dev lo proto 119 metric 4294967295" "...and leaves the fixed routes and a person's"
h ip route del 10.52.0.0/16 table $T
is "$(tool table table=12345 -- route-del table=12345 dst=10.0.0.0/8 dev=weir0)" "table ok
route-del ESRCH" "a table that does not exist is an empty one"
like "$(tool routes)" 'route table=102 unicast 0.0.0.0/0 dev u2' "routes of all tables are seen"
is "$(tool routes | grep -c 'table=255')" 0 "but those of table local"
like "$(tool local)" 'local 10.1.0.255/32' "what the host takes itself"
like "$(tool addresses dev=u1)" 'address u1 2001:db8:1::2/64' "addresses of a link"
is "$(tool addresses dev=u1 | grep -vc ' u1 ')" 0 "...and of no other"
like "$(tool links)" 'link u2 mtu 1400 up' "links"
h ip link add gone type veth peer name gone2
is "$(tool link-del dev=gone -- link-del dev=gone -- link-del dev=)" "link-del ok
link-del ENODEV
link-del EINVAL" "a link is deleted"

# --- ways ----------------------------------------------------------------------------------

is "$(tool way to=8.8.8.8 uid=900 -- way to=2001:4860::1 -- way to=fd55::1 -- way to=10.1.0.2)" \
	"way unicast table 254 dev u1 src 10.1.0.2 mtu 0
way unicast table 254 dev u1 src 2001:db8:1::2 mtu 0
way unicast table 254 dev u1 src fd01::2 mtu 0
way local table 255 dev lo src 10.1.0.2 mtu 0" "ways of an ordinary host"
h ip route add blackhole 10.60.0.0/16
h ip route add prohibit 10.61.0.0/16
h ip route add unreachable 10.62.0.0/16
h ip -6 route add prohibit fd61::/16
h ip route add 10.63.0.0/16 via 10.1.0.1 mtu 1280
is "$(tool way to=10.60.0.1 -- way to=10.61.0.1 -- way to=10.62.0.1 -- way to=fd61::1 -- way to=10.63.0.1)" \
	"way blackhole
way prohibit
way unreachable
way prohibit
way unicast table 254 dev u1 src 10.1.0.2 mtu 1280" "routes that say no, and one with an MTU"
h ip rule add pref 10 uidrange 900-900 prohibit
is "$(tool way to=8.8.8.8 uid=900 -- way to=8.8.8.8 uid=901)" "way prohibit
way unicast table 254 dev u1 src 10.1.0.2 mtu 0" "the rules of the uid count"
h ip rule del pref 10
for v in 4 6; do
	h ip -$v route add default dev wg table 51
	h ip -$v rule add pref 300 not fwmark 51 lookup 51
	h ip -$v rule add pref 299 lookup main suppress_prefixlength 0
done
is "$(tool way to=8.8.8.8 uid=900 -- way to=8.8.8.8 mark=51 -- way to=10.1.0.9 -- way to=2001:4860::1 -- way to=fd01::9)" \
	"way unicast table 51 dev wg src 10.3.0.2 mtu 0
way unicast table 254 dev u1 src 10.1.0.2 mtu 0
way unicast table 254 dev u1 src 10.1.0.2 mtu 0
way unicast table 51 dev wg src fd03::2 mtu 0
way unicast table 254 dev u1 src fd01::2 mtu 0" "a VPN's rules count, and its exceptions"

# --- the mirror ----------------------------------------------------------------------------

up4="10.1.0.0/24 dev weir0 proto 119 scope link src 10.1.0.2
10.2.0.0/24 dev weir0 proto 119 scope link src 10.2.0.2 mtu 1400
10.63.0.0/16 dev weir0 proto 119 scope link src 10.1.0.2 mtu 1280
blackhole 10.60.0.0/16 proto 119
default dev weir0 proto 119 scope link src 10.3.0.2 mtu 1380
prohibit 10.61.0.0/16 proto 119
unreachable 10.62.0.0/16 proto 119
unreachable default proto 119 metric 4294967295"
like "$(mirror)" '^mirror routes=[0-9]+ added=[0-9]+ replaced=0 deleted=0$' "the mirror is made"
is "$(table 4)" "$up4" "each destination with its source and MTU, through the VPN"
is "$(table 6)" "2001:db8:1::/64 dev weir0 proto 119 src 2001:db8:1::2
default dev weir0 proto 119 src fd03::2 mtu 1380
fd01::/64 dev weir0 proto 119 src fd01::2
fd02::/64 dev weir0 proto 119 src fd02::2 mtu 1400
prohibit fd61::/16 dev lo proto 119
unreachable default dev lo proto 119 metric 4294967295" "IPv6, too"
like "$(mirror)" 'added=0 replaced=0 deleted=0$' "where nothing has changed nothing is changed"

h ip route flush table $T proto 119
h ip route add unreachable default metric 4294967295 proto 119 table $T
like "$(mirror)" 'added=7 replaced=0 deleted=0$' "what others removed is put back"
is "$(table 4)" "$up4" "...all of it"

# the VPN ends: sources change, nothing else
for v in 4 6; do
	h ip -$v rule del pref 300
	h ip -$v rule del pref 299
done
for n in 60 61 62 63; do h ip route del 10.$n.0.0/16; done
h ip -6 route del fd61::/16
nsenter "--net=/run/netns/$H" ip monitor route >"$TMP/monitor" &
MONITOR=$!
# it listens when it hears of a route of our own, which also tells when it has heard all
marked() { h ip route replace "$1" dev weir0 table 9; grep -q "$1" "$TMP/monitor"; }
wait_for 5 marked 10.99.0.1
mirror >/dev/null
wait_for 5 marked 10.99.0.2
kill $MONITOR
wait $MONITOR 2>/dev/null
h ip route flush table 9
is "$(table 4)" "10.2.0.0/24 dev weir0 proto 119 scope link src 10.2.0.2 mtu 1400
default dev weir0 proto 119 scope link src 10.1.0.2
unreachable default proto 119 metric 4294967295" "the VPN is gone: the uplink's source, fewer routes"
is "$(table 6)" "default dev weir0 proto 119 src 2001:db8:1::2
fc00::/7 dev weir0 proto 119 src fd01::2
fd02::/64 dev weir0 proto 119 src fd02::2 mtu 1400
unreachable default dev lo proto 119 metric 4294967295" "IPv6: a source for each kind of destination"
is "$(grep -c '^Deleted default' "$TMP/monitor")" 0 "the default route was replaced, never absent"
like "$(cat "$TMP/monitor")" 'default dev weir0 .*src 10.1.0.2' "(which the monitor did see)"

# the address of a link is taken away, as when a lease ends; the kernel leaves table 7771 alone
h ip addr del 10.1.0.2/24 dev u1
like "$(table 4)" 'src 10.1.0.2' "the kernel leaves a dead source in our table"
mirror >/dev/null
is "$(table 4)" "10.2.0.0/24 dev weir0 proto 119 scope link src 10.2.0.2 mtu 1400
throw default proto 119
unreachable default proto 119 metric 4294967295" "no route keeps a dead source"
addresses u1 10.1.0.7/24
h ip route add default via 10.1.0.1
mirror >/dev/null
like "$(table 4)" 'default dev weir0 proto 119 scope link src 10.1.0.7' "a new lease, a new source"
h ip link set u1 down
mirror >/dev/null
is "$(table 4) $(table 6 | grep -c fd01)" "10.2.0.0/24 dev weir0 proto 119 scope link src 10.2.0.2 mtu 1400
throw default proto 119
unreachable default proto 119 metric 4294967295 0" "a link goes down"
h ip link set u1 up
addresses u1 fd01::2/64 2001:db8:1::2/64
h ip route add default via 10.1.0.1
h ip -6 route add default via fd01::1
mirror >/dev/null
like "$(table 4)" 'default dev weir0 proto 119 scope link src 10.1.0.7' "...and comes back"
like "$(table 6)" 'default dev weir0 proto 119 src 2001:db8:1::2' "...with IPv6"

# two halves of everything, as OpenVPN has it; a table that delivers here; a rule by destination
h ip route add 0.0.0.0/1 dev wg
h ip route add 128.0.0.0/1 dev wg
h ip route add local 10.70.0.0/16 dev lo table 70
h ip rule add pref 100 to 10.70.0.0/16 lookup 70
h ip rule add pref 101 to 10.71.0.0/16 lookup 102
mirror >/dev/null
is "$(table 4)" "10.1.0.0/24 dev weir0 proto 119 scope link src 10.1.0.7
10.2.0.0/24 dev weir0 proto 119 scope link src 10.2.0.2 mtu 1400
10.71.0.0/16 dev weir0 proto 119 scope link src 10.2.0.2 mtu 1400
default dev weir0 proto 119 scope link src 10.3.0.2 mtu 1380
local 10.70.0.0/16 dev lo proto 119 scope host
unreachable default proto 119 metric 4294967295" "two halves; local by another table; a rule's destination"
h ip rule del pref 100
h ip rule del pref 101
h ip route del 0.0.0.0/1
h ip route del 128.0.0.0/1

# the longest match decides between two addresses of one kind
addresses u1 2001:db8:9::2/64
mirror >/dev/null
is "$(h ip -6 route get 2001:db8:9:1::1 | grep -o 'src [^ ]*') $(h ip -6 route get 2001:db8:9:1::1 mark 1 | grep -c weir0)" \
	"src 2001:db8:9::2 0" "(the host prefers the nearer of two addresses)"
h ip -6 rule add pref 5 fwmark 1 lookup $T
for to in 2001:db8:9:1::1 2001:db8:1:1::1 2600::1 fd77::1 2002::1; do
	is "$(h ip -6 route get $to mark 1 | grep -oE 'dev weir0|src [^ ]*' | xargs)" \
		"dev weir0 $(h ip -6 route get $to | grep -o 'src [^ ]*')" "$to has the host's source in the mirror"
done
h ip -6 rule del pref 5
h ip addr del 2001:db8:9::2/64 dev u1
is "$(tool mirror table=$T dev=nosuch uid=900)" "mirror ENODEV" "without its device it says so"

# many routes: differing ones, and more than is looked at
for i in $(seq 0 4999); do
	echo "route add 172.$((16 + i / 256)).$((i % 256)).0/24 via 10.$((1 + i % 2)).0.1"
done >"$TMP/batch"
h ip -batch "$TMP/batch"
like "$(mirror)" 'routes=250[0-9] added=250[0-9] ' "5000 routes by two uplinks: those that differ are added"
diag "$(cat "$TMP/err")"
us=$(sed -n 's/.* \([0-9]*\) us$/\1/p' "$TMP/err")
ok $((us > 1500000)) "...in far less than seconds"
like "$(mirror)" 'added=0 replaced=0 deleted=0$' "...and once only"
diag "$(cat "$TMP/err")"
for i in $(seq 0 15999); do
	echo "route add 11.$((i / 256)).$((i % 256)).0/24 via 10.2.0.1"
done >"$TMP/batch"
h ip -batch "$TMP/batch"
is "$(tool routes)" "routes E2BIG" "more routes than anybody wants to read are refused"
like "$(mirror)" '^mirror routes=[0-9]+ .* deleted=250[0-9] limited$' "...and only the default way is mirrored"
diag "$(cat "$TMP/err")"
like "$(table 4)" 'default dev weir0 proto 119 scope link src 10.1.0.7' "...which goes on"
h ip route flush root 11.0.0.0/8
h ip route flush root 172.16.0.0/12

# --- changes -------------------------------------------------------------------------------

silent() { [ "$(tool heard)" = heard ]; }
wait_for 10 silent
ok $? "nothing is heard of nothing"
heard() { # COMMAND WHAT NAME
	is "$(tool sh "nsenter --net=/run/netns/$H $1" -- heard)" "sh 0
heard$2" "heard: $3"
}
heard "ip addr add 10.8.0.1/32 dev u1" " address" "an address"
heard "ip addr del 10.8.0.1/32 dev u1" " address" "...removed"
heard "ip -6 addr add fd08::1/128 dev u1 nodad" " address route" "an IPv6 address, with its route"
heard "ip route add 10.90.0.0/16 via 10.1.0.1" " route" "a route"
heard "ip -6 route add fd90::/16 via fd01::1" " route" "an IPv6 route"
heard "ip rule add pref 77 lookup 9" " rule" "a rule"
heard "ip -6 rule add pref 77 lookup 9" " rule" "an IPv6 rule"
heard "ip link set wg mtu 1370" " link" "a link's MTU"
tool rule-add pref=1000 uid=900 table=9 >/dev/null
heard "ip rule flush" " rule" "everybody's rules flushed, ours among them"
h ip rule add pref 32766 lookup main
h ip rule add pref 0 lookup local 2>/dev/null
is "$(tool rule-add pref=1000 table=9 -- route-replace table=$T dst=10.91.0.0/16 dev=weir0 \
	-- route-del table=$T dst=10.91.0.0/16 dev=weir0 -- rule-del pref=1000 table=9 -- heard)" "rule-add ok
route-replace ok
route-del ok
rule-del ok
heard" "what we do ourselves is not heard"
tool route-replace table=$T dst=10.91.0.0/16 dev=weir0 >/dev/null
heard "ip route flush table $T" " route" "our routes removed by somebody else"

# --- nftables ------------------------------------------------------------------------------

if command -v nft >/dev/null && h nft list ruleset 2>/dev/null; then
	is "$(tool nft 'add table inet weir' -- nft 'add tabel inet weir' -- nft 'add rule inet weir none counter' \
		-- nft-exists weir -- nft-exists wei)" "nft ok
nft EINVAL Error: syntax error, unexpected inet, expecting string: add tabel inet weir
nft EINVAL Error: Could not process rule: No such file or directory: add rule inet weir none counter
nft-exists 1
nft-exists 0" "a table, and what is wrong with a text"
	is "$(tool nft 'table inet weir_a {
	chain x { }
}
add rule inet weir_a none counter' -- nft-exists weir_a)" "nft EINVAL Error: Could not process rule: No such file or directory
nft-exists 0" "a text that is wrong somewhere changes nothing"
	is "$(tool nft-del weir -- nft-del weir -- nft-del 'x; flush ruleset')" "nft-del ok
nft-del ENOENT
nft-del EINVAL" "a table is deleted"
	text='table inet weir_guard { set s { type ipv4_addr; elements = { 10.0.0.1 } }; chain c { counter; }; }'
	nfth() { # COMMAND WHAT NAME
		h nft -f - <<<"$text; table ip other { chain c { counter; }; }"
		is "$(tool sh "nsenter --net=/run/netns/$H nft $1" -- nft-heard)" "sh 0
nft-heard $2" "heard: $3"
		h nft flush ruleset
	}
	nfth "flush ruleset" 1 "nft flush ruleset"
	nfth "delete table inet weir_guard" 1 "our table deleted"
	nfth "flush chain inet weir_guard c" 1 "our rules removed"
	nfth "delete table ip other" 0 "not: another's table deleted"
	nfth "delete element inet weir_guard s '{ 10.0.0.1 }'" 0 "not: a connection leaves a set"
	nfth "add table inet weir_x" 0 "not: something added"
	is "$(tool nft "$text" -- nft "delete table inet weir_guard; $text" -- nft-del weir_guard -- nft-heard)" "nft ok
nft ok
nft-del ok
nft-heard 0" "what we do ourselves is not heard"
else
	skip "nftables" "no nft here"
fi
done_testing
