#!/bin/bash
# SPDX-License-Identifier: MIT
# Every bound is enforced, said at most once a second, and never fatal. topology.sh: drawing.
. "$(dirname "$0")/topology.sh"

MANY=$TOP/tests/lib/many.py
eve() { python3 "$TOP/tests/lib/eve.py" "$@"; }

# bounded OPTIONS -- COMMAND: notices in $TMP/err, output in $OUT, run time in $TOOK
bounded() {
	local start=$SECONDS
	OUT=$(weir_run "$@" 2>"$TMP/err")
	STATUS=$?
	TOOK=$((SECONDS - start))
}

said() { # OPTION: at least once, and at most once a second
	local n
	n=$(grep -c -- "weir: .*$1" "$TMP/err")
	check "$1 is said ($n times in $TOOK s)" test "$n" -ge 1 -a "$n" -le $((TOOK + 2))
}

alive_after() { # the same run still works when the crowd has gone
	is "the program ended by itself" "$STATUS" 0
	like "... and afterwards all is well" "$OUT" "good rounds 40 of 40"
}

max_flows() {
	bounded --max-flows 50 -- bash -c "PATIENCE=3 python3 $MANY 200 7001 $PLAIN4 | head -1
		sleep 0.5; $B/tests/fidelity/probe echo 4 $PLAIN4 7001 2>/dev/null"
	local opened
	opened=$(sed -n 's/opened \([0-9]*\) .*/\1/p' <<<"$OUT")
	check "--max-flows 50: $opened of 200 connections" test "${opened:-0}" -gt 0 -a \
		"${opened:-999}" -le 50
	like "the others failed" "$OUT" "errors: [A-Z]"
	said --max-flows
	alive_after
}

max_half_open() {
	# 60 connections to a server that never answers, then one to a healthy one
	bounded --max-half-open 20 -- bash -c "
		for i in \$(seq 60); do timeout 2 nc -w 2 $HOSTILE4 9004 & done; sleep 0.7
		$B/tests/fidelity/probe connect 4 $PLAIN4 7001 2>/dev/null
		wait; sleep 1; $B/tests/fidelity/probe echo 4 $PLAIN4 7001 2>/dev/null"
	local seen
	seen=$(in_net nft list set inet count ports | grep -o '\. 9004' | wc -l)
	check "--max-half-open 20: $seen connections reached the silent server" test "$seen" -ge 1 -a \
		"$seen" -le 20
	said --max-half-open
	alive_after
}

half_open_given_up() {
	# 20 connections that their programs give up without a word, while the host goes on trying:
	# they make room for whoever comes two seconds later
	bounded --max-half-open 20 --log "$TMP/half.json" -- bash -c "
		for i in \$(seq 20); do timeout 0.5 nc -w 2 $HOSTILE4 9004 & done; wait; sleep 2.2
		$B/tests/fidelity/probe connect 4 $PLAIN4 7001 2>/dev/null"
	like "--max-half-open 20: who has given up makes room" "$OUT" "connect 0 at once"
	check "... and the record says so" eve "$TMP/half.json" \
		"len([f for f in flows if f['weir']['reason'] == 'app-gone']) == 1"
}

udp_flows() {
	# 200 sockets, one after the other, each with a question and its answer
	bounded --max-flows 50 --log "$TMP/udp.json" -- bash -c "python3 - $PLAIN4 <<'PY'
import socket, sys
first = socket.create_connection((sys.argv[1], 7001))
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(200)]
good = 0
for s in socks:
    s.settimeout(0.02)
    s.connect((sys.argv[1], 7101))
    try:
        s.send(b'x')
        good += s.recv(9) == b'x'
    except OSError:
        pass
first.send(b'still here')
print('good', good, first.recv(99).decode())
PY"
	is "--max-flows: new UDP flows take the place of old ones, a connection stays" "$OUT" \
		"good 200 still here"
	said --max-flows
	check "... 49 were there to the end, the others say why not" eve "$TMP/udp.json" \
		"len(flows) == 201 and len([f for f in flows if f.weir.reason == 'evicted']) == 151 and
		all(f.weir.reason != 'evicted' for f in flows if f.proto == 'TCP')"
	check "... those that were silent the longest went first" eve "$TMP/udp.json" \
		"(ports := [f.flow_id for f in flows if f.weir.reason == 'evicted']) == sorted(ports) and
		max(ports) < min(f.flow_id for f in flows
			if f.proto == 'UDP' and f.weir.reason != 'evicted')"
}

udp_gives_way() {
	# UDP flows that are over fill the table: a connection finds its place all the same
	bounded --max-flows 20 -- bash -c "python3 - $PLAIN4 <<'PY'
import socket, sys, time
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(40)]
for s in socks:
    s.connect((sys.argv[1], 7101))
    s.send(b'x')
    s.recv(9)
c = socket.create_connection((sys.argv[1], 7001), timeout=5)
c.send(b'hello')
print(c.recv(99).decode())
PY"
	is "--max-flows: UDP flows that are over make room for a connection" "$OUT" hello
}

udp_refused() {
	# a table that connections fill: nothing can make room
	bounded --max-flows 20 -- bash -c "python3 - $PLAIN4 <<'PY'
import socket, sys
held = [socket.create_connection((sys.argv[1], 7001)) for _ in range(20)]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.5)
s.connect((sys.argv[1], 7101))
def ask():
    s.send(b'x')
    try:
        return s.recv(9)
    except TimeoutError:
        return None
print(ask(), end=' ')
held.pop().close()
import time
for _ in range(20):
    time.sleep(0.1)
    got = ask()
    if got:
        break
print(got)
PY"
	is "--max-flows: connections are never evicted, one that ends makes room" "$OUT" "None b'x'"
	like "... and what happens is said" "$(cat "$TMP/err")" "datagrams of new flows are dropped"
}

flow_buffer() {
	bounded -q --flow-buffer 16k -- "$B/tests/fidelity/probe" slow_program 4 $PLAIN4
	like "--flow-buffer 16k: slow program, whole and held up" "$OUT" \
		"read 16777216 .*EOF.*held up"
	bounded -q --flow-buffer 16k -- "$B/tests/fidelity/probe" slow_reader 4 $PLAIN4
	like "--flow-buffer 16k: slow server, whole and held up" "$OUT" \
		"held up yes.*answer \"16777216 "
}

total_buffer() {
	bounded --total-buffer 256k -- bash -c "
		for i in 1 2 3 4 5 6; do
			$B/tests/fidelity/probe slow_reader 4 $PLAIN4 2>/dev/null & done; wait"
	is "--total-buffer 256k: six slow servers get every byte" \
		"$(grep -c '^answer "16777216 ' <<<"$OUT")" 6
}

idle() {
	# what a worker does in two seconds with nothing to do, and with an idle connection (lwIP's
	# timers: four times a second)
	weir_run -q -- bash -c 'sleep 4; exec 3<>/dev/tcp/'$PLAIN4'/7001; sleep 4' &
	local weir kid worker wakes=()
	sleep 1
	weir=$(pgrep -P "$(pgrep -P $!)") # of timeout, of the function
	for kid in $(pgrep -P "$weir"); do
		[ "$(cat "/proc/$kid/comm")" = weir-keeper ] || worker=$kid
	done
	for _ in 1 2; do
		wakes+=($(sed -n 's/^voluntary_ctxt_switches:\t//p' "/proc/$worker/status"))
		sleep 2
		wakes[-1]=$(($(sed -n 's/^voluntary_ctxt_switches:\t//p' "/proc/$worker/status") - wakes[-1]))
		sleep 2
	done
	check "a worker without connections sleeps (${wakes[0]} wake-ups in 2 s)" \
		test "${wakes[0]}" -le 1
	check "... with an idle one it wakes for its timers alone (${wakes[1]})" \
		test "${wakes[1]}" -ge 6 -a "${wakes[1]}" -le 10
	wait $!
}

bad_values() {
	local o
	for o in "--max-flows 0" "--max-flows x" "--max-half-open -1" "--flow-buffer 1" \
		"--total-buffer 99999999999999999999"; do
		bounded $o -- true
		check "$o is refused" test "$STATUS" -ne 0
		like "... and named" "$(cat "$TMP/err")" "${o%% *}"
	done
}

need_weir
need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
topology_up
in_net nft 'table inet count {
	set ports { type inet_service . inet_service; size 65535; flags dynamic; }
	chain in {
		type filter hook prerouting priority -300
		tcp dport 9004 tcp flags syn add @ports { tcp sport . tcp dport }
	}
}'
servers_up
max_flows
max_half_open
half_open_given_up
udp_flows
udp_gives_way
udp_refused
flow_buffer
total_buffer
idle
bad_values
done_testing
