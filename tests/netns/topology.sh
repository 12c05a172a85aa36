# SPDX-License-Identifier: MIT
# topology.sh - the three namespaces of the tests that look at weir from the network; sourced.
#
#   $HOST (where weir runs)        $ROUTER                            $NET (servers)
#   h0 10.77.0.2/24  ---------  r0 10.77.0.1/24
#      fd77::2/64                  fd77::1/64
#                               r1 10.78.0.1/24   --- mtu 1500 ---   n0 10.78.0.{2,3,4,12}/24
#                                  fd78::1/64                           fd78::{2,3,4,12}/64
#                               r2 10.79.0.1/24   --- mtu 1400 ---   n1 10.79.0.2/24, fd79::2/64
#                                                                    tun "hostile":
#                                                                       10.76.0.0/24, fd76::/64
#   .2 plain server   .3 the same, every answer 20 ms late   .4 programs of a test's own
#   10.76.0.2, fd76::2: tests/lib/hostile.c, a TCP/IP of its own that misbehaves
#
#   10.80.0.N, fd80::N answered by the router: 10 host unreachable, 11 net unreachable,
#     13 prohibited, 14 host prohibited (v6: policy), 15 net prohibited (v6: reject route),
#     16 TCP reset, 17 silence, 18 port unreachable
#   10.81.0.1, fd81::1 unreachable and 10.82.0.1, fd82::1 prohibit: routes of $HOST itself
#
# Names carry the shell's pid, so that tests run side by side. topology_down() is the exit trap:
# it ends what was started by bg() or start_ready() and every process left in the namespaces.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
B=${B:-$TOP/build/release}
case $B in /*) ;; *) B=$TOP/$B ;; esac
WEIR=${WEIR:-$B/weir}
RUN_VIA=${RUN_VIA:-$WEIR run -q --} # what stands in front of a program; for trying other tools
HOST=wh$$
ROUTER=wr$$
NET=wn$$
TMP=
BG=()

PLAIN4=10.78.0.2 DELAYED4=10.78.0.3 EXTRA4=10.78.0.4 ALT4=10.78.0.12 SMALL4=10.79.0.2 HOSTILE4=10.76.0.2
PLAIN6=fd78::2 DELAYED6=fd78::3 EXTRA6=fd78::4 ALT6=fd78::12 SMALL6=fd79::2 HOSTILE6=fd76::2

# --- TAP -------------------------------------------------------------------------------------

TAP_N=0
TAP_BAD=0

ok() { # NAME
	TAP_N=$((TAP_N + 1))
	echo "ok $TAP_N - $1"
}

not_ok() { # NAME [DETAIL]
	TAP_N=$((TAP_N + 1))
	TAP_BAD=$((TAP_BAD + 1))
	echo "not ok $TAP_N - $1"
	[ -z "${2-}" ] || printf '%s\n' "$2" | sed 's/^/#   /'
}

skip() { # NAME REASON
	TAP_N=$((TAP_N + 1))
	echo "ok $TAP_N - $1 # SKIP $2"
}

check() { # NAME COMMAND...: passes when the command does; its output is shown when not
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "$out"; fi
}

is() { # NAME GOT WANT
	if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "got:  $2"$'\n'"want: $3"; fi
}

like() { # NAME GOT REGEX
	if [[ $2 =~ $3 ]]; then ok "$1"; else not_ok "$1" "got:  $2"$'\n'"want: /$3/"; fi
}

done_testing() {
	echo "1..$TAP_N"
	[ "$TAP_BAD" -eq 0 ]
}

skip_all() {
	echo "1..0 # SKIP $1"
	exit 0
}

# --- running things ----------------------------------------------------------------------------

in_host() { nsenter --net=/run/netns/$HOST "$@"; }
in_router() { nsenter --net=/run/netns/$ROUTER "$@"; }
in_net() { nsenter --net=/run/netns/$NET "$@"; }
# nothing of ours may hang a test run: timeout ends the whole process group
weir_run() { in_host timeout -k 5 "${LIMIT:-120}" "$WEIR" run "$@"; }
via_weir() { in_host timeout -k 5 "${LIMIT:-120}" $RUN_VIA "$@"; }

bg() { # COMMAND...: in the background, ended at exit; the pid is in $!
	"$@" &
	BG+=($!)
}

wait_for() { # SECONDS COMMAND...: until the command succeeds
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

start_ready() { # LOG COMMAND...: in the background, until it has printed "ready"
	local log=$1
	shift
	"$@" >"$log" 2>&1 &
	BG+=($!)
	wait_for 10 grep -q '^ready' "$log" || {
		echo "Bail out! $* did not start: $(cat "$log")"
		exit 1
	}
}

# --- up and down ---------------------------------------------------------------------------------

topology_down() {
	local ns pid
	for pid in "${BG[@]}"; do kill "$pid" 2>/dev/null; done
	for ns in $HOST $ROUTER $NET; do
		for pid in $(ip netns pids $ns 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
		ip netns del $ns 2>/dev/null
	done
	wait 2>/dev/null
	[ -z "$TMP" ] || rm -rf "$TMP"
}

link() { # NS DEV NS DEV MTU
	ip link add "$2" netns "$1" mtu "$5" type veth peer name "$4" netns "$3" mtu "$5"
	ip -n "$1" link set "$2" up
	ip -n "$3" link set "$4" up
}

addrs() { # NS DEV ADDR/LEN...
	local ns=$1 dev=$2 a
	shift 2
	for a; do
		case $a in
		*:*) ip -n "$ns" addr add "$a" dev "$dev" nodad ;;
		*) ip -n "$ns" addr add "$a" dev "$dev" ;;
		esac
	done
}

namespace() { # NS
	ip netns add "$1"
	ip -n "$1" link set lo up
	# errors are the subject here: none may be lost to a rate limit; addresses are used at once
	nsenter --net=/run/netns/"$1" sysctl -qw net.ipv4.icmp_ratelimit=0 \
		net.ipv6.icmp.ratelimit=0 net.ipv4.conf.all.rp_filter=0 \
		net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.default.accept_ra=0 \
		net.ipv6.conf.default.accept_dad=0 || {
		echo "Bail out! namespace $1 cannot be set up"
		exit 1
	}
	# the limit over all of them is a namespace's own since Linux 6.12 only: before, it is the
	# machine's, which a test leaves alone, and its 1000 errors a second are enough
	if nsenter --net=/run/netns/"$1" test -e /proc/sys/net/ipv4/icmp_msgs_per_sec; then
		nsenter --net=/run/netns/"$1" sysctl -qw net.ipv4.icmp_msgs_per_sec=100000 \
			net.ipv4.icmp_msgs_burst=10000
	fi
}

router_rules() {
	in_router nft -f - <<-'RULES'
	table inet answers {
		chain forward {
			type filter hook forward priority 0; policy accept;
			ip daddr 10.80.0.10 reject with icmp type host-unreachable
			ip daddr 10.80.0.11 reject with icmp type net-unreachable
			ip daddr 10.80.0.13 reject with icmp type admin-prohibited
			ip daddr 10.80.0.14 reject with icmp type host-prohibited
			ip daddr 10.80.0.15 reject with icmp type net-prohibited
			ip daddr 10.80.0.16 meta l4proto tcp reject with tcp reset
			ip daddr 10.80.0.17 drop
			ip daddr 10.80.0.18 reject with icmp type port-unreachable
			ip6 daddr fd80::10 reject with icmpv6 type addr-unreachable
			ip6 daddr fd80::11 reject with icmpv6 type no-route
			ip6 daddr fd80::13 reject with icmpv6 type admin-prohibited
			ip6 daddr fd80::14 reject with icmpv6 type policy-fail
			ip6 daddr fd80::15 reject with icmpv6 type reject-route
			ip6 daddr fd80::16 meta l4proto tcp reject with tcp reset
			ip6 daddr fd80::17 drop
			ip6 daddr fd80::18 reject with icmpv6 type port-unreachable
		}
	}
	RULES
}

# distant_answers: the router answers as another machine would. Without this veth delivers an ICMP
# error inside the very connect() that caused it, where the kernel notes it as a soft error only.
# (A thread reads r0's packets; veth gives it only those of a device without TSO.)
distant_answers() {
	in_host ethtool -K h0 tso off >/dev/null
	in_router ethtool -K r0 gro on >/dev/null
	in_router unshare -m sh -c "mount -t sysfs sysfs /sys && echo 1 >/sys/class/net/r0/threaded"
}

topology_up() {
	[ "$(id -u)" = 0 ] || skip_all "needs root to build namespaces"
	command -v nft >/dev/null || skip_all "needs nft"
	TMP=$(mktemp -d)
	trap topology_down EXIT
	trap 'exit 1' INT TERM
	namespace $HOST
	namespace $ROUTER
	namespace $NET
	link $HOST h0 $ROUTER r0 1500
	link $ROUTER r1 $NET n0 1500
	link $ROUTER r2 $NET n1 1400
	addrs $HOST h0 10.77.0.2/24 fd77::2/64
	addrs $ROUTER r0 10.77.0.1/24 fd77::1/64
	addrs $ROUTER r1 10.78.0.1/24 fd78::1/64
	addrs $ROUTER r2 10.79.0.1/24 fd79::1/64
	addrs $NET n0 $PLAIN4/24 $DELAYED4/24 $EXTRA4/24 $ALT4/24 \
		$PLAIN6/64 $DELAYED6/64 $EXTRA6/64 $ALT6/64
	addrs $NET n1 $SMALL4/24 $SMALL6/64
	ip -n $HOST route add default via 10.77.0.1
	ip -n $HOST route add default via fd77::1
	ip -n $HOST route add unreachable 10.81.0.0/24
	ip -n $HOST route add unreachable fd81::/64
	ip -n $HOST route add prohibit 10.82.0.0/24
	ip -n $HOST route add prohibit fd82::/64
	ip -n $NET route add 10.77.0.0/24 via 10.78.0.1
	ip -n $NET route add fd77::/64 via fd78::1
	for n in 10.80.0.0/24 10.76.0.0/24; do ip -n $ROUTER route add $n via $PLAIN4; done
	for n in fd80::/64 fd76::/64; do ip -n $ROUTER route add $n via $PLAIN6; done
	in_router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	in_net sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	in_host sysctl -qw net.ipv4.ping_group_range="0 2147483647"
	in_net sysctl -qw net.ipv4.ping_group_range="0 2147483647"
	router_rules
}

servers_up() {
	start_ready "$TMP/plain.log" in_net "$B/tests/lib/peer" 0 $PLAIN4 $ALT4 $PLAIN6 $ALT6
	start_ready "$TMP/delayed.log" in_net "$B/tests/lib/peer" 20 $DELAYED4 - $DELAYED6 -
	start_ready "$TMP/hostile.log" in_net "$B/tests/lib/hostile"
}

need_weir() {
	[ "$RUN_VIA" != "$WEIR run -q --" ] || [ -x "$WEIR" ] || skip_all "$WEIR is not built"
}

need_tools() { # NAME...: of tests/lib and tests/fidelity
	make -s -C "$TOP" ${CC:+CC=$CC} ${SANITIZE:+SANITIZE=$SANITIZE} \
		B="$B" "${@/#/$B/}" >&2 || {
		echo "Bail out! cannot build $*"
		exit 1
	}
}
