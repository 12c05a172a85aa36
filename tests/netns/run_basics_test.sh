#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What COMMAND finds inside, compared with what the host has.
#
#   host namespace                        made by weir
#   +------------------------------+     +-------------------------------+
#   | up0 10.88.0.2/24  mtu 1420   |     | weir0  the same addresses     |
#   |     fd88::2/64               | <-- |        default dev weir0      |
#   | default via 10.88.0.1, fd88::1     |                               |
#   +---|--------------------------+     +-------------------------------+
#      up1 (other end, unused)
. "$(dirname "$0")/lib.sh"

HOST=weirb-$$
netns_new "$HOST" || skip_all "no network namespaces here"
host() { in_ns "$HOST" "$@"; }
host ip link set lo up
host ip link add up0 mtu 1420 type veth peer name up1
host ip link set up0 up
host ip link set up1 up
host sysctl -qw net.ipv6.conf.up0.accept_dad=0
host ip addr add 10.88.0.2/24 brd + dev up0
host ip addr add fd88::2/64 dev up0 nodad
host ip route add default via 10.88.0.1 dev up0
host ip route add default via fd88::1 dev up0
host sysctl -qw net.ipv4.tcp_syn_retries=3 net.ipv4.ip_unprivileged_port_start=80

mkdir -m 700 "$TMP/closed"
for who in root user; do
	# --- status and streams
	run $who -- true
	is $? 0 "$who: status 0"
	run $who -- sh -c 'exit 7'
	is $? 7 "$who: status 7"
	err=$(run $who -- /nonexistent/program 2>&1)
	is $? 127 "$who: no such COMMAND: 127"
	is "$(wc -l <<<"$err")" 1 "$who: ... with one line"
	err=$(PATH=$TMP/closed:$PATH run $who -- nosuchprogram 2>&1)
	is $? 127 "$who: ... also when a directory of PATH is closed"
	err=$(run $who --hook nosuchhook -- true 2>&1)
	is "$? $err" "2 weir: --hook nosuchhook: no such hook" "$who: no such hook: 2, with one line"
	err=$(run $who -- /etc/passwd 2>&1)
	is $? 126 "$who: COMMAND not executable: 126"
	is "$(echo in | run $who -- sh -c 'cat; echo err >&2' 2>"$TMP/err")" in "$who: stdin and stdout are COMMAND's"
	is "$(cat "$TMP/err")" err "$who: stderr too, with nothing of weir's under -q"

	# --- what COMMAND is
	show='grep -E "^(Sig(Blk|Ign)|Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp|Uid|Gid)" /proc/self/status;
		ulimit -a; umask; pwd; env | grep -v "^_=" | sort; ls /proc/self/fd | wc -l; ps -o pgid=,sid= -p $$'
	[ $who = user ] && show=${show/Bnd|/} # a user namespace has a bounding set of its own
	change='ulimit -n 777; ulimit -c 0; umask 027; cd /usr; trap "" USR2; export WEIR_TEST=1; '
	as $who bash -c "$change exec 9</dev/null; bash -c '$show'" >"$TMP/out.direct"
	as $who bash -c "$change exec 9</dev/null; $WEIR run -q -- bash -c '$show'" >"$TMP/out.weir"
	sed -i 's/^ *[0-9]* *[0-9]*$/PGID/' "$TMP"/out.*
	is "$(cat "$TMP/out.weir")" "$(cat "$TMP/out.direct")" "$who: capabilities, masks, limits, umask, directory, environment, descriptors"
	is "$(run $who -- bash -c 'ls -l /proc/self/fd' 9</dev/null | grep -c -E 'socket:|tun|anon_inode')" 0 "$who: no descriptor of weir's leaks"
	like "$(as $who bash -c "echo \$(ps -o pgid= -p \$\$) \$($WEIR run -q -- bash -c 'ps -o pgid= -p \$\$')")" '^([0-9]+) \1$' "$who: same process group"
	is "$(as $who bash -c "trap '' HUP CHLD; $WEIR run -q -- grep SigIgn /proc/self/status")" \
	   "$(as $who bash -c "trap '' HUP CHLD; grep SigIgn /proc/self/status")" "$who: ignored signals stay ignored"
	look="bash -c 'for i in 0 1 2; do [ -e /proc/\$\$/fd/\$i ] && echo \$i >&2; done'"
	is "$(as $who bash -c "exec 0<&- 1>&-; $WEIR run -q -- $look" 2>&1)" \
	   "$(as $who bash -c "exec 0<&- 1>&-; $look" 2>&1)" "$who: closed streams are closed inside"

	# --- what it finds
	is "$(run $who -- ip -o -4 addr show dev weir0 | awk '{print $4, $6}')" "10.88.0.2/24 10.88.0.255" "$who: IPv4 address mirrored"
	is "$(run $who -- ip -o -6 addr show dev weir0 | awk '{print $4}')" "fd88::2/64" "$who: IPv6 address mirrored, no link-local one"
	is "$(run $who -- cat /sys/class/net/weir0/mtu 2>/dev/null || run $who -- sh -c "ip link show weir0 | grep -o 'mtu [0-9]*' | cut -d' ' -f2")" 1420 "$who: MTU mirrored"
	like "$(run $who -- ip route show default)" '^default dev weir0 .*src 10\.88\.0\.2' "$who: IPv4 default route"
	like "$(run $who -- ip -6 route show default)" '^default dev weir0 .*src fd88::2' "$who: IPv6 default route"
	like "$(run $who -- ip link show lo)" 'UP' "$who: lo is up"
	is "$(run $who -- sh -c 'cat /proc/sys/net/ipv4/tcp_syn_retries /proc/sys/net/ipv4/ip_unprivileged_port_start' | xargs)" "3 80" "$who: settings taken over"
	is "$(run $who --address 10.99.0.7/30 --mtu 1300 -- sh -c "ip -o -4 addr show dev weir0 | awk '{print \$4}'; ip link show weir0 | grep -o 'mtu [0-9]*'" | xargs)" "10.99.0.7/30 mtu 1300" "$who: --address and --mtu"
	run $who -- true & run $who -- sh -c 'sleep 0.3'; wait $!
	is $? 0 "$who: two at once"

	# --- letting go
	prefix $who "$HOST"
	start=$(date +%s%N)
	(exec "${PRE[@]}" "$WEIR" run -q -- bash -c 'exec >&-; sleep 2') |
		{ cat; echo $((($(date +%s%N) - start) / 1000000)) >"$TMP/eof"; }
	ok $(($(cat "$TMP/eof") >= 1500)) "$who: a pipe ends when COMMAND closes it"
	diag "end of pipe after $(cat "$TMP/eof") ms of 2000"
done

is "$(run root -- cat /proc/sys/net/ipv4/ping_group_range | xargs)" "0 2147483647" "root: ping sockets for all groups"
is "$(run user -- cat /proc/sys/net/ipv4/ping_group_range | xargs)" "2001 2001" "user: ping sockets for the own group"
is "$(run user --map-root -- id -u)" 0 "user: --map-root"
is "$(run user -- id -u)" 2001 "user: keeps its uid"
is "$(run root --user nobody -- id -un)" nobody "root: --user"
err=$(run user --user nobody -- id 2>&1)
is $? 126 "user: --user needs root"

# The kernel must not speak by itself on weir0.
sent=$(run user -- sh -c 'sleep 3; grep weir0 /proc/net/dev' | awk -F'[: ]+' '{for (i = 1; i <= NF; i++) if ($i == "weir0") print $(i + 10)}')
is "$sent" 0 "no packet by itself within 3 s"

# --- families
host ip -6 route del default
is "$(run user -- ip -6 -o addr show dev weir0)" "" "no IPv6 default route outside: no IPv6 on weir0"
like "$(run user -- ip -6 -o addr show dev lo)" '::1' "... but ::1 is there"
host ip route del default
note=$(as user "$WEIR" run -- ip -o addr show dev weir0 2>&1)
like "$note" '192\.0\.2\.2/24' "no default route at all: documentation addresses"
like "$note" '2001:db8::2/64' "... of both families"
like "$note" 'no default route' "... and says so"
host ip -6 route add default via fd88::1 dev up0
is "$(run user -- ip -4 -o addr show dev weir0)" "" "no IPv4 default route outside: no IPv4 on weir0"
host ip route add default via 10.88.0.1 dev up0

# --- speed
times=$(for _ in 1 2 3 4 5 6 7 8 9 10 11; do
	s=$(date +%s%N)
	"$WEIR" run -q -- true
	echo $((($(date +%s%N) - s) / 1000))
done | sort -n)
median=$(sed -n 6p <<<"$times")
ok $((median > 300000)) "start and end within 300 ms"
diag "median $median us for weir run -- true"

is "$(ip netns pids "$HOST" | wc -l)" 0 "no process is left"
done_testing
