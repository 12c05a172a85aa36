#!/bin/bash
# SPDX-License-Identifier: MIT
# The flow log: whose flow it was, of what kind, how it ended; the table; -q. topology.sh: drawing.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/nginx.sh"

LOG=
eve() { python3 "$TOP/tests/lib/eve.py" "$LOG" "$@"; }

# logged NAME [--no-bpf] COMMAND...: run it with a fresh log
logged() {
	local option=
	LOG=$TMP/$1.json
	shift
	[ "$1" != --no-bpf ] || { option=$1; shift; }
	weir_run -q $option --log "$LOG" -- "$@" >"$TMP/out" 2>"$TMP/err"
}

whole_record() {
	logged curl curl -s http://$PLAIN4:8080/part5000 --local-port 41000-41100 -H "X-Test: secret"
	check "one flow, one line" eve "len(flows) == 1"
	check "EVE fields" eve "all((f.event_type == 'flow', f.proto == 'TCP',
		f.src_ip == '10.77.0.2', 41000 <= f.src_port <= 41100, f.dest_ip == '$PLAIN4',
		f.dest_port == 8080, isinstance(f.flow_id, int), f.flow_id < 2**53,
		f.flow.state == 'closed', len(f.timestamp) >= 26) for f in flows)"
	check "bytes are those of the payload" eve "flows[0].flow.bytes_toclient > 5000 and
		flows[0].flow.bytes_toclient < 5600 and 50 < flows[0].flow.bytes_toserver < 300"
	check "community_id" eve "flows[0].community_id == expected" \
		expected="$(community_id "$LOG")"
	check "owner: user" eve "(o := flows[0].weir.owner).uid == 0 and o.gid == 0 and
		o.user == 'root'"
	check "owner: program" eve "(o := flows[0].weir.owner).comm == 'curl' and
		o.exe == '$(readlink -f "$(command -v curl)")' and o.pid > 1"
	check "owner: command line" eve "flows[0].weir.owner.cmdline.startswith(
		'curl -s http://$PLAIN4:8080/part5000')"
	check "owner: cookie, inode, cgroup" eve "(o := flows[0].weir.owner).cookie and o.inode and
		isinstance(o.cgroup, str)"
	check "owner: parents" eve "any(p.comm == 'weir' for p in flows[0].weir.owner.parents)"
	check "times" eve "(w := flows[0].weir).connect_ms >= 0 and w.first_byte_ms is not None and
		w.first_byte_ms >= w.connect_ms and w.connect_ms < 1000"
	check "verdict" eve "flows[0].weir.verdict == 'allow'"
	check "payload is not in the log" sh -c "! grep -q X-Test.*Host $LOG"
}

# community_id LOG: Community ID 1.0 of the first flow, computed here from the specification
community_id() {
	python3 - "$1" <<-'PY'
	import base64, hashlib, ipaddress, json, struct, sys
	f = json.loads(open(sys.argv[1]).readline())
	ends = [(ipaddress.ip_address(f[s + "_ip"]).packed, f[s + "_port"]) for s in ("src", "dest")]
	(a, ap), (b, bp) = sorted(ends)
	data = struct.pack(">H", 0) + a + b + bytes([6, 0]) + struct.pack(">HH", ap, bp)
	print("1:" + base64.b64encode(hashlib.sha1(data).digest()).decode())
	PY
}

who_it_was() {
	logged parents bash -c "bash -c 'curl -s http://$PLAIN4:8080/hello; true'; true"
	check "parents, nearest first" eve "[p.comm for p in flows[0].weir.owner.parents][:2] ==
		['bash', 'bash']"
	logged thread python3 -c "
import threading, urllib.request, os
open('$TMP/pid', 'w').write(str(os.getpid()))
t = threading.Thread(target=lambda: urllib.request.urlopen('http://$PLAIN4:8080/hello').read())
t.start(); t.join()"
	check "a thread's flow is its process'" eve "flows[0].weir.owner.pid == int(pid)" \
		pid="$(cat "$TMP/pid")"
	logged orphan bash -c "(sleep 0.3; exec curl -s http://$PLAIN4:8080/hello) & exit 0"
	check "a flow of a program whose parent has gone" eve "flows[0].weir.owner.comm == 'curl'"
	logged exec bash -c "exec 3<>/dev/tcp/$PLAIN4/7001; exec python3 -c '
import os
os.write(3, b\"x\"); os.read(3, 1)'"
	check "a socket kept over exec" eve "flows[0].weir.owner.pid > 1 and
		flows[0].weir.owner.comm in ('bash', 'python3')"
	logged udp python3 -c "
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(2); s.sendto(b'x', ('$PLAIN6', 7101)); s.recv(9)
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(2); s.sendto(b'x', ('::ffff:$PLAIN4', 7101)); s.recv(9)"
	check "UDP, also from a dual-stack socket" eve "len(flows) == 2 and
		all(f.proto == 'UDP' and 'python' in f.weir.owner.comm for f in flows)"
	logged ping ping -c 1 $PLAIN4
	check "echo" eve "flows[0].proto == 'ICMP' and flows[0].weir.owner.comm == 'ping'"
	logged many python3 "$TOP/tests/lib/many.py" 300 7001 $PLAIN4 $PLAIN6
	check "300 connections at once all have their owner" eve "len(flows) == 300 and
		len({f.weir.owner.pid for f in flows}) == 1"
	logged other setpriv --reuid 54321 --regid 54321 --clear-groups \
		curl -s http://$PLAIN4:8080/hello
	check "... noted by the kernel, where it can" eve "flows[0].weir.owner.uid == 54321 and
		flows[0].weir.owner.comm == 'curl'"
	logged other --no-bpf setpriv --reuid 54321 --regid 54321 --clear-groups \
		curl -s http://$PLAIN4:8080/hello
	check "uid of the process, also one without a name" eve "flows[0].weir.owner.uid == 54321 and
		flows[0].weir.owner.comm == 'curl'"
	logged hostile-name bash -c 'exec -a "$(printf "a\377\"\033[31m\n{}")" \
		curl -s http://'$PLAIN4':8080/hello'
	check "a hostile command line stays data" eve "len(flows) == 1 and
		'\\x1b' not in flows[0].weir.owner.cmdline and flows[0].weir.owner.comm == 'curl'"
}

how_it_ended() {
	local p=$B/tests/fidelity/probe
	logged reset $p reset_by_peer 4 $PLAIN4
	check "reset by the peer" eve "flows[0].weir.close.net == 'rst'"
	logged rst $p reset_by_us_unread 4 $PLAIN4
	check "reset by the program" eve "any(f.weir.close.app == 'rst' for f in flows)"
	logged fin $p half_close_up 4 $PLAIN4
	check "orderly close" eve "(c := flows[0].weir.close).app == 'fin' and c.net == 'fin'"
	check "bytes of a half-close, exact" eve "flows[0].flow.bytes_toserver == 1000003"
	logged refused $p connect 4 $PLAIN4 7099
	check "refused, with its errno" grep -q ECONNREFUSED "$LOG"
	logged unreachable $p connect 4 10.80.0.10 7001
	check "unreachable, with its errno" grep -q EHOSTUNREACH "$LOG"
	logged killed timeout -s KILL 1 $p idle 4 $PLAIN4
	check "a killed program's flow is closed" eve "len(flows) == 1"
}

outputs() {
	local out
	out=$(weir_run -q -- curl -s -o /dev/null http://$PLAIN4:8080/hello 2>&1)
	is "-q is silent" "$out" ""
	out=$(weir_run -- curl -s -o /dev/null http://$PLAIN4:8080/part5000 2>&1 >/dev/null)
	like "table: program" "$out" "curl"
	like "table: destination" "$out" "$PLAIN4"
	out=$(weir_run --live -- curl -s -o /dev/null http://$PLAIN4:8080/hello 2>&1)
	check "--live shows the flow more than once" test "$(grep -c "$PLAIN4" <<<"$out")" -ge 2
	weir_run -q --log fd:7 -- curl -s -o /dev/null http://$PLAIN4:8080/hello \
		7>"$TMP/fd7.json"
	LOG=$TMP/fd7.json
	check "--log fd:7" eve "len(flows) == 1"
	weir_run -q --log - -- curl -s -o /dev/null http://$PLAIN4:8080/hello \
		2>"$TMP/stderr.json"
	LOG=$TMP/stderr.json
	check "--log - is stderr" eve "len(flows) == 1"
	logged twice curl -s http://$PLAIN4:8080/hello
	weir_run -q --log "$LOG" -- curl -s http://$PLAIN4:8080/hello >/dev/null
	check "a log is appended to, flow ids differ" eve "len({f.flow_id for f in flows}) == 2"
}

need_weir
need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
topology_up
servers_up
nginx_up
whole_record
who_it_was
how_it_ended
outputs
done_testing
