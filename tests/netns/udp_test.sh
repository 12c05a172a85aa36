#!/bin/bash
# SPDX-License-Identifier: MIT
# UDP through weir beyond what tests/fidelity compares: filters, timeouts, mapping seen by a
# third party, accounting. topology.sh has the drawing.
. "$(dirname "$0")/topology.sh"

inside() { weir_run -q "$@"; } # OPTIONS -- COMMAND

# who answers: the asked port; another port of the same host; another host
filters() {
	local p=$B/tests/fidelity/probe f
	for f in 4 6; do
		local plain=$PLAIN4 alt=$ALT4 same all
		[ $f = 4 ] || plain=$PLAIN6 alt=$ALT6
		same="same from $plain 7107"
		all="$same"$'\n'"port from $plain 7150"
		is "v$f --udp-filter=endpoint lets anyone answer" \
			"$(inside --udp-filter=endpoint -- $p dgram_unasked $f $plain 2>/dev/null)" \
			"$all"$'\n'"addr from $alt 7107"
		is "v$f --udp-filter=address: only hosts that were written to" \
			"$(inside --udp-filter=address -- $p dgram_unasked $f $plain 2>/dev/null)" \
			"$all"
		is "v$f --udp-filter=port: only the very port" \
			"$(inside --udp-filter=port -- $p dgram_unasked $f $plain 2>/dev/null)" \
			"$same"
	done
}

# Two programs behind the same mapping rules meet as peers do after STUN: a third host learns
# the outer port of one and writes to it from an address that was never written to.
third_party() {
	in_net python3 - $PLAIN4 $EXTRA4 >"$TMP/stun.log" 2>&1 <<-'PY' &
	import socket, sys
	s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	s.bind((sys.argv[1], 3478))
	other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	other.bind((sys.argv[2], 4000))
	print("ready", flush=True)
	while True:
	    data, peer = s.recvfrom(100)
	    for i in range(3):
	        other.sendto(b"%d from a stranger" % i, peer)
	PY
	BG+=($!)
	wait_for 10 grep -q ready "$TMP/stun.log"
	is "a stranger reaches the mapping" "$(inside -- python3 - $PLAIN4 <<-'PY'
	import socket, sys
	s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	s.settimeout(3)
	s.sendto(b"hello", (sys.argv[1], 3478))
	got = [s.recvfrom(100) for _ in range(3)]
	print([d.decode() for d, _ in got], {p for _, p in got})
	PY
	)" "['0 from a stranger', '1 from a stranger', '2 from a stranger'] {('$EXTRA4', 4000)}"
}

# mapping after the idle time is over; a flow that is used stays
idle() {
	inside --udp-timeout 1 --log "$TMP/idle.json" -- python3 - $PLAIN4 >"$TMP/idle.out" <<-'PY'
	import socket, sys, time
	s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	s.settimeout(3)
	def ask():
	    s.sendto(b"x", (sys.argv[1], 7101))
	    s.recv(10)
	for _ in range(5):
	    ask()
	    time.sleep(0.5)
	time.sleep(3)
	ask()
	print("ok")
	PY
	is "answers before and after an idle time" "$(cat "$TMP/idle.out")" ok
	check "idle flow ended by timeout, busy one not" python3 "$TOP/tests/lib/eve.py" \
		"$TMP/idle.json" "[f.flow.pkts_toserver for f in flows if f.proto == 'UDP'] == [5, 1]"
}

accounting() {
	inside --log "$TMP/udp.json" -- "$B/tests/fidelity/probe" dgram_sizes 4 $PLAIN4 \
		>/dev/null 2>&1
	local sum=$((0 + 1 + 1452 + 1453 + 1472 + 1473 + 8192 + 65507))
	check "bytes and datagrams of each direction are exact" python3 "$TOP/tests/lib/eve.py" \
		"$TMP/udp.json" "[(f.flow.bytes_toserver, f.flow.bytes_toclient,
			f.flow.pkts_toserver, f.flow.pkts_toclient) for f in flows]
			== [(int(n), int(n), 8, 8)]" n=$sum
}

need_weir
need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
topology_up
servers_up
filters
third_party
idle
accounting
done_testing
