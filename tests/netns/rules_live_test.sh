#!/bin/bash
# SPDX-License-Identifier: MIT
# Rules on live flows, when something changes: decisions, reloads, processes, kill; limits and quotas;
# what is told of it. topology.sh: drawing; rules.sh: servers.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/rules.sh"

asking() {
	local out id
	rules ask <<-EOF
	ask timeout=3s default=block if dst.port == 7001
	ask timeout=30s if dst.port == 7002
	ask timeout=30s if proto == udp and dst.port == 7101
	EOF
	weir_start --rules "$TMP/ask.rules" || return
	bg weir events >"$TMP/events"
	inside "$KNOCK tcp $EXTRA4 7002 send=x limit=30 &"
	wait_for 5 eval '[ "$(held)" = 1 ]'
	sleep 5
	is "a flow that a rule asks about waits" "$(held) $(syns 7002)" "1 0"
	id=$(held_id)
	out=$(weir decide "$id" allow)
	like "weir decide" "$out" "^allowed: python3\([0-9]+\) root -> $EXTRA4:7002"
	check "allowed, it goes on" said "^connected b'x' [5-9]\.[0-9]"
	inside "$KNOCK tcp $EXTRA4 7002 limit=30 &"
	wait_for 5 eval '[ "$(held)" = 1 ]'
	weir decide "$(held_id)" block >/dev/null
	check "blocked, it is refused" said '^ECONNREFUSED'
	inside "$KNOCK tcp $EXTRA4 7001 limit=30 &"
	check "nobody decides in time: the rule's default" said '^ECONNREFUSED 3\.'
	inside "$KNOCK udp $EXTRA4 7101 &"
	wait_for 5 eval '[ "$(held)" = 1 ]'
	weir decide "$(held_id)" allow >/dev/null
	check "datagrams wait, and then pass" said '^1$'
	out=$(weir decide 4711 allow 2>&1)
	is "no such flow: status" $? 1
	like "... said" "$out" "there is no flow 4711"

	inside "$KNOCK tcp $EXTRA4 7002 limit=30 send=first & $KNOCK tcp $EXTRA4 7002 limit=30 send=second &"
	wait_for 5 eval '[ "$(held)" = 2 ]'
	weir decide --for program --ttl 1h --keep "$TMP/kept.rules" "$(held_id)" allow >"$TMP/decide.out"
	check "--for program: others of it go on as well" eval 'said "first" && said "second"'
	like "weir rules lists the decision" "$(weir rules)" 'decision 1: allow if exe == "/[^"]*python3[.0-9]*" \(.* left\)'
	like "--keep writes a rule" "$(cat "$TMP/kept.rules")" '^allow if exe == "/'
	check "... that is one" "$WEIR" check "$TMP/kept.rules"
	inside "$KNOCK tcp $EXTRA4 7002 send=third"
	check "it counts for what comes later" said "^connected b'third' 0"
	kill -9 "$(worker)"
	wait_for 5 weir flows
	inside "$KNOCK tcp $EXTRA4 7002 send=fourth"
	check "... and with another worker" said "^connected b'fourth' 0"
	weir rules forget 1 >/dev/null
	inside "$KNOCK tcp $EXTRA4 7002 limit=2"
	check "forgotten, it is asked again" said '^timeout 2'
	check "events tell it" python3 - "$TMP/events" <<-'PY'
	import json, sys
	e = [json.loads(l) for l in open(sys.argv[1])]
	kinds = [x["weir"]["event"] for x in e if x["event_type"] == "weir"]
	assert kinds.count("held") >= 6 and kinds.count("decided") >= 6, kinds
	assert all(x["dest_ip"] and x["flow_id"] for x in e)
	PY
	weir_end
}

reloads() {
	local out a b
	rules reload <<-EOF
	allow if dst.port in {8000, 7001}
	EOF
	weir_start --rules "$TMP/reload.rules" || return
	inside "$KNOCK tcp $EXTRA4 8000 bytes=100000000 limit=30 &"
	inside "$KNOCK tcp $EXTRA6 8000 bytes=3000000 limit=30 &"
	wait_for 5 eval '[ "$(weir flows "bytes.down > 100kb" | wc -l)" = 2 ]'
	printf 'block if dst.ip == %s\nthis is no rule\n' $EXTRA4 >"$TMP/reload.rules"
	out=$(weir reload 2>&1)
	is "a reload with an error: status" $? 1
	like "... the error is the answer" "$out" "reload.rules:2:1: "
	sleep 0.3
	is "... and nothing has changed" "$(weir flows 'dst.port == 8000' | wc -l)" 2
	rules reload <<-EOF
	block if dst.ip == $EXTRA4
	EOF
	is "a reload" "$(weir reload)" reloaded
	check "a download that is not allowed any more is cut" said '^connected [0-9]+ ECONNRESET' 3
	wait_for 3 grep -q 'ended by .*reload.rules:1: python3.*:8000' "$TMP/err"
	check "... the rule is in the log" grep -q 'ended by .*reload.rules:1: python3.*:8000' "$TMP/err"
	check "another one goes on" said '^connected 30[0-9]+ all' 20
	printf 'block if dst.ip == %s\nallow if dst.port == 7001\n' $EXTRA4 >"$TMP/reload.rules"
	weir reload >/dev/null
	inside "$KNOCK udp $EXTRA4 7101"
	check "udp is refused" said '^EHOSTUNREACH'
	weir_end
	check "its record names it" python3 "$TOP/tests/lib/eve.py" "$TMP/log.json" \
		"any(f.weir.rule and f.weir.rule.endswith('reload.rules:1') and f.weir.reason == 'blocked' and f.flow.bytes_toclient > 100000 for f in flows)"
}

processes() {
	rules exec <<-EOF
	block if comm == "turned"
	EOF
	weir_start --rules "$TMP/exec.rules" || return
	cat >"$TMP/turn.py" <<-PY
	import ctypes, socket, time
	s = socket.create_connection(("$EXTRA4", 7001)); s.send(b"a"); print("before", s.recv(10), flush=True)
	ctypes.CDLL(None).prctl(15, b"turned", 0, 0, 0)
	s.settimeout(8)
	try: print("after", s.recv(10), flush=True)
	except OSError as e: print("after", type(e).__name__, flush=True)
	PY
	inside "python3 $TMP/turn.py &"
	check "a process that becomes another one ..." said 'before b.a.'
	check "... is judged again" said 'after ConnectionResetError'
	weir_end
	check "... and its record says as what, and how that is known" python3 "$TOP/tests/lib/eve.py" "$TMP/log.json" \
		"flows[0].weir.owner.comm == 'turned' and flows[0].weir.owner.source == 'sockdiag'"
}

killing() {
	rules kill <<-EOF
	allow
	EOF
	weir_start --rules "$TMP/kill.rules" || return
	inside "$KNOCK tcp $EXTRA4 8000 bytes=100000000 limit=30 &"
	inside "$KNOCK tcp $EXTRA6 8000 bytes=100000000 limit=30 &"
	wait_for 5 eval '[ "$(weir flows "bytes.down > 10kb" | wc -l)" = 2 ]'
	is "weir flows EXPR" "$(weir flows "dst.ip == $EXTRA4" | wc -l) $(weir flows 'user == root and ip.version == 6' | wc -l)" "1 1"
	like "... with an error" "$(weir flows 'dst.port == alice' 2>&1)" "1:13: "
	is "weir kill EXPR" "$(weir kill "dst.ip == $EXTRA4")" "1 flow ended"
	check "... it is reset" said 'ECONNRESET' 3
	is "... alone" "$(weir flows 'dst.port == 8000' | wc -l)" 1
	is "weir kill ID" "$(weir kill "$(weir flows 'dst.port == 8000' | python3 -c 'import json, sys; print(json.load(sys.stdin)["flow_id"])')")" \
		"1 flow ended"
	like "weir rules counts" "$(weir rules)" ' 2 +[0-9]+ B +[0-9.]+ [kM]B  .*kill.rules:1: allow'
	weir_end
}

counting() {
	local out
	rules count <<-EOF
	quota bytes=500000 per user period=1h if dst.port == 8001
	quota bytes=1000 per program period=1h if dst.port == 8002
	quota bytes=250 per rule period=1h if dst.port == 7101
	limit flows=2 per program if dst.port == 8000
	tag counted if dst.port == 8001
	log warn if dst.port == 8001
	EOF
	weir_start --rules "$TMP/count.rules" || return
	inside "$KNOCK tcp $EXTRA4 8001 bytes=1000000"
	check "a quota cuts at the byte" said '^connected 500000 ECONNRESET' 8
	inside "$KNOCK tcp $EXTRA4 8001 bytes=1000000"
	check "... and refuses what comes later" said '^ECONNREFUSED'
	kill -9 "$(worker)"
	wait_for 5 weir flows
	inside "$KNOCK tcp $EXTRA6 8001 bytes=1000000"
	wait_for 5 eval '[ "$(grep -c ECONNREFUSED "$TMP/inside")" = 2 ]'
	is "... also another worker" "$(grep -c ECONNREFUSED "$TMP/inside")" 2
	inside "$KNOCK tcp $EXTRA4 8002 send=$(printf 'z%.0s' {1..3000}) limit=4"
	said 'ECONNRESET [0-5]' 8
	inside "$KNOCK tcp $EXTRA4 8003 read"
	check "upwards: exactly so many bytes arrive" said "^connected b'1000'"
	inside "$KNOCK udp $EXTRA4 7101 count=3 size=100"
	check "datagrams that would exceed it are refused" said '^100 EHOSTUNREACH EHOSTUNREACH'
	inside "$KNOCK tcp $EXTRA4 8000 bytes=100000000 limit=30 &"
	inside "$KNOCK tcp $EXTRA4 8000 bytes=100000000 limit=30 &"
	wait_for 5 eval '[ "$(weir flows "dst.port == 8000" | wc -l)" = 2 ]'
	inside "$KNOCK tcp $EXTRA4 8000"
	wait_for 5 eval '[ "$(grep -c ECONNREFUSED "$TMP/inside")" = 3 ]'
	is "a limit refuses one flow more" "$(grep -c ECONNREFUSED "$TMP/inside")" 3
	weir kill 'dst.port == 8000' >/dev/null
	inside "$KNOCK tcp $EXTRA4 8000"
	check "... and lets one in when others have ended" said '^connected 0'
	like "a rule that logs" "$(cat "$TMP/err")" "count.rules:6: python3\([0-9]+\) root -> $EXTRA4:8001"
	weir_end
	check "records name quota and limit, and have tags" python3 "$TOP/tests/lib/eve.py" "$TMP/log.json" \
		"{f.weir.rule[-2:] for f in flows if f.event_type == 'flow' and f.weir.verdict == 'block'} >= {':1', ':2', ':4'} and any(f.weir.tags == ['counted'] for f in flows)"
	check "... and the log has what was logged" python3 "$TOP/tests/lib/eve.py" "$TMP/log.json" \
		"any(f.event_type == 'weir' and f.weir.event == 'log' and f.weir.rule[-2:] == ':6' for f in flows)"
}

inbound() {
	rules in <<-EOF
	ask timeout=30s if dir == in and dst.port == 7005
	block if dir == in and dst.port == 7006
	EOF
	cat >"$TMP/inside.py" <<-'PY'
	import socket, threading
	def one(p):
	    s = socket.create_server(("0.0.0.0", p))
	    print("listening", p, flush=True)
	    while True:
	        c, _ = s.accept(); print("accepted", p, flush=True); c.sendall(b"inside")
	for p in (7005, 7006): threading.Thread(target=one, args=(p,), daemon=True).start()
	threading.Event().wait(60)
	PY
	weir_start --publish 7005 --publish 7006 --rules "$TMP/in.rules" || return
	inside "python3 $TMP/inside.py & SERVER=\$!"
	said 'listening 7006'
	sleep 0.3
	bg in_net $KNOCK tcp 10.77.0.2 7005 read limit=20 >"$TMP/peer.out"
	wait_for 5 eval '[ "$(held)" = 1 ]'
	sleep 0.5
	is "a peer that comes in is held, the program does not know" "$(held) $(grep -c 'accepted 7005' "$TMP/inside")" "1 0"
	weir decide "$(held_id)" allow >/dev/null
	wait_for 5 grep -q inside "$TMP/peer.out"
	like "... allowed" "$(cat "$TMP/peer.out")" "^connected b'inside'"
	like "another one is blocked" "$(in_net $KNOCK tcp 10.77.0.2 7006 read limit=5)" '^(connected )?ECONNRESET'
	is "... before the program sees it" "$(grep -c 'accepted 7006' "$TMP/inside")" 0
	inside 'kill $SERVER'
	weir_end
}

need_weir
topology_up
rules_servers
mkdir -m 700 "$TMP/run"
asking
reloads
processes
killing
counting
inbound
done_testing
