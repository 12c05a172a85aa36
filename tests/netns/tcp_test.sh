#!/bin/bash
# SPDX-License-Identifier: MIT
# TCP through weir, where comparing with the direct path (tests/fidelity) can't tell: the host's
# own addresses, absent families, bounded memory, acknowledgement delays. topology.sh: drawing.
. "$(dirname "$0")/topology.sh"

inside() { weir_run -q "$@"; } # OPTIONS -- COMMAND

host_addresses() {
	start_ready "$TMP/loop.log" in_host "$B/tests/lib/peer" 0 127.0.0.1 - ::1 -
	start_ready "$TMP/own.log" in_host "$B/tests/lib/peer" 0 10.77.0.2 - fd77::2 -
	local p=$B/tests/fidelity/probe
	for a in "4 127.0.0.1" "6 ::1" "4 10.77.0.2" "6 fd77::2"; do
		like "${a#* } is the namespace's own, not the host's" \
			"$(inside -- $p connect $a 7001 2>/dev/null)" "^connect ECONNREFUSED"
	done
	like "--host-loopback, IPv4" "$(inside --host-loopback 192.0.2.77 -- \
		$p echo 4 192.0.2.77 7001 2>/dev/null)" "40 of 40"
	like "--host-loopback, IPv6" "$(inside --host-loopback 2001:db8::77 -- \
		$p echo 6 2001:db8::77 7001 2>/dev/null)" "40 of 40"
	like "--host-loopback, refused port" "$(inside --host-loopback 192.0.2.77 -- \
		$p connect 4 192.0.2.77 7099 2>/dev/null)" "^connect ECONNREFUSED"
	like "--host-loopback, UDP answers keep the mapped address" \
		"$(inside --host-loopback 192.0.2.77 -- $p dgram_from 4 192.0.2.77 7101 \
		2>/dev/null)" "5 from 192.0.2.77 7101"
	like "--host-addr, IPv4" "$(inside --host-addr 192.0.2.78 -- \
		$p echo 4 192.0.2.78 7001 2>/dev/null)" "40 of 40"
	like "--host-addr, IPv6" "$(inside --host-addr 2001:db8::78 -- \
		$p echo 6 2001:db8::78 7001 2>/dev/null)" "40 of 40"
}

overrides() {
	local p=$B/tests/fidelity/probe
	is "--address" "$(inside --address 10.99.1.5/20 -- $p addresses 4 2>/dev/null)" \
		"10.99.1.5/20 mtu 1500 up yes"
	is "--mtu" "$(inside --mtu 9000 -- $p addresses 4 2>/dev/null)" \
		"10.77.0.2/24 mtu 9000 up yes"
	like "a larger MTU carries the same bytes" \
		"$(inside --mtu 9000 -- $p half_close_up 4 $PLAIN4 2>/dev/null)" "\"1000003 "
	like "a small MTU carries the same bytes" \
		"$(inside --mtu 1280 -- $p half_close_up 6 $PLAIN6 2>/dev/null)" "\"1000003 "
}

# write, write, read without TCP_NODELAY: a late acknowledgement costs 40 ms or more each time
no_ack_delay() {
	local out
	out=$(weir_run -q -- python3 - $PLAIN4 7010 <<-'PY'
	import socket, sys, time
	s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
	times = []
	for _ in range(20):
	    t = time.monotonic()
	    s.send(b"abcd")
	    s.send(b"efgh")
	    s.recv(1)
	    times.append(time.monotonic() - t)
	print("median_ms", int(sorted(times)[10] * 1000))
	PY
	)
	like "write, write, read with Nagle waits for nobody" "$out" "^median_ms [0-9]$"
}

# peak_kib PID: the largest resident set of any process of a run
peak_kib() {
	local max=0 v pid
	for pid in $1 $(pgrep -P "$1"); do
		[ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = "$(readlink -f "$WEIR")" ] || continue
		v=$(awk '/VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null)
		[ "${v:-0}" -le "$max" ] || max=$v
	done
	echo "$max"
}

bounded_memory() {
	local limit=32768
	# The sanitizer's own: shadow, red zones, and what was freed is kept for a while.
	[ -z "${SANITIZE-}" ] || limit=262144
	ASAN_OPTIONS=${ASAN_OPTIONS-}:quarantine_size_mb=4 \
		nsenter --net=/run/netns/$HOST "$WEIR" run -q --flow-buffer 128k -- bash -c "
		for i in \$(seq 40); do $B/tests/fidelity/probe slow_program 4 $PLAIN4 & done
		wait" >"$TMP/bounded.out" 2>/dev/null &
	local pid=$! peak=0 v
	while kill -0 $pid 2>/dev/null; do
		v=$(peak_kib $pid)
		[ "$v" -le "$peak" ] || peak=$v
		sleep 0.2
	done
	wait $pid
	is "40 floods to programs that do not read: all whole" \
		"$(grep -c "^read 16777216 bytes.*EOF$" "$TMP/bounded.out")" 40
	# 640 MiB were offered; each flow may hold 256 KiB and its share of lwIP's queues
	check "memory stayed bounded (peak $peak KiB)" test "$peak" -gt 1000 -a "$peak" -lt "$limit"
}

absent_family() {
	local p=$B/tests/fidelity/probe direct weir
	ip -n $HOST -6 route del default
	direct=$(in_host $p route 6 $PLAIN6 2>/dev/null)
	weir=$(inside -- $p route 6 $PLAIN6 2>/dev/null)
	is "no IPv6 default route: same errno" "$weir" "$direct"
	is "no IPv6 default route: no address inside" \
		"$(inside -- $p addresses 6 2>/dev/null)" ""
	like "no IPv6 default route: IPv4 works" "$(inside -- $p echo 4 $PLAIN4 7001 2>/dev/null)" \
		"40 of 40"
	ip -n $HOST -4 route del default
	like "no default route: documentation address" \
		"$(inside -- $p addresses 4 2>/dev/null)" "^192.0.2.2/24 "
	like "no default route: weir says so" \
		"$(weir_run -- true 2>&1)" "default route"
}

need_weir
need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
topology_up
servers_up
host_addresses
overrides
no_ack_delay
bounded_memory
absent_family
done_testing
