#!/bin/bash
# SPDX-License-Identifier: MIT
# The hook `names` on what real clients send, and on hellos in one-byte segments, larger than a
# record, and in QUIC packets out of order. topology.sh: drawing.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/nginx.sh"

TOOL=$B/tests/netns/names_tool

# logged NAME EXPRESSION: the flow log of the last run; `f` is the flow that a client opened to a server
logged() {
	check "$1" python3 "$TOP/tests/lib/eve.py" "$TMP/log.json" \
		"[f for f in flows if f.event_type == 'flow' and f.proto != 'ICMP' and ($2)]"
}

# run COMMAND...: through weir with the hook, or with the rules in $RULES, which bring it along; its
# output stands in $out
run() {
	local how=(--hook "names${OPTIONS:+=$OPTIONS}")
	if [ -n "$RULES" ]; then
		echo "$RULES" >"$TMP/rules"
		how=(--rules "$TMP/rules")
	fi
	rm -f "$TMP/log.json"
	out=$(weir_run -q "${how[@]}" --log "$TMP/log.json" -- "$@" 2>"$TMP/err") ||
		out="status $?: $out $(tail -n 3 "$TMP/err")"
}

# nginx offers TLS 1.3 by default in later versions only
tls13_server() {
	(cd "$TMP/www" && exec nsenter --net=/run/netns/$NET openssl s_server -quiet -WWW -tls1_3 \
		-cert "$TMP/cert.pem" -key "$TMP/key.pem" -accept $EXTRA4:8444) >"$TMP/s_server.log" 2>&1 &
	BG+=($!)
	wait_for 10 in_host curl -sk -o /dev/null https://$EXTRA4:8444/hello
}

curl_tls() {
	run curl -s --max-time 20 --cacert "$TMP/cert.pem" --tlsv1.3 \
		--resolve weir.test:8444:$EXTRA4 https://weir.test:8444/hello
	is "curl, TLS 1.3" "$out" "hello from nginx"
	logged "... its name, ALPN, fingerprints" "f.tls.sni == 'weir.test' and f.app_proto == 'tls' and
		f.tls.client_alpns == ['h2', 'http/1.1'] and len(f.tls.ja3.hash) == 32 and
		f.tls.ja4[:4] == 't13d' and f.tls.ja4[8:10] == 'h2'"
	logged "... which is its host" "f.weir.host == 'weir.test'"
	run curl -s --max-time 20 --cacert "$TMP/cert.pem" --http2 \
		--resolve weir.test:8443:$PLAIN4 https://weir.test:8443/hello
	is "curl, HTTP/2 with TLS" "$out" "hello from nginx"
	logged "... its name" "f.tls.sni == 'weir.test' and 'h2' in f.tls.client_alpns"
	run curl -s --max-time 20 -k "https://[$PLAIN6]:8443/hello"
	is "curl, by an address" "$out" "hello from nginx"
	logged "... has no name" "f.app_proto == 'tls' and not f.tls.sni and f.tls.ja4[:4] == 't13i'"
}

curl_http() {
	run curl -s --max-time 20 --resolve Other.test:8080:$PLAIN4 "http://Other.test:8080/hello?x=1"
	is "curl, HTTP/1.1" "$out" "hello from nginx"
	logged "... method, path and host" "f.app_proto == 'http' and f.http.http_method == 'GET' and
		f.http.url == '/hello' and f.http.hostname == 'other.test' and f.weir.host == 'other.test'"
	run curl -s -o /dev/null --max-time 5 --http2-prior-knowledge http://$PLAIN4:8080/hello
	logged "HTTP/2 without TLS" "f.app_proto == 'http2'"
}

bytewise() {
	start_ready "$TMP/tls.log" in_net "$TOOL" tls-server $EXTRA4 4433
	run "$TOOL" tls $EXTRA4 4433 bytes.test 295
	is "a hello in one-byte segments" "$out" "300 of 300"
	logged "... its name" "f.tls.sni == 'bytes.test'"
	run "$TOOL" tls $EXTRA4 4433 large.test 5000
	like "a hello in six records, byte by byte" "$out" "^5025 of 5025$"
	logged "... its name" "f.tls.sni == 'large.test' and
		f.tls.ja4 == 't13d1516h2_8daaf6152771_e5627efa2ab1' and f.flow.bytes_toserver == 5025"
}

quic() {
	start_ready "$TMP/quic.log" in_net "$TOOL" quic-server $EXTRA4 4434
	start_ready "$TMP/quic6.log" in_net "$TOOL" quic-server $EXTRA6 4434
	run "$TOOL" quic $EXTRA4 4434 one.test 1 1
	is "a QUIC Initial" "$out" "1 answers"
	logged "... its name, ALPN, JA4" "f.tls.sni == 'one.test' and f.app_proto == 'quic' and
		f.tls.ja4 == 'q13d1516h2_8daaf6152771_e5627efa2ab1' and 'h2' in f.tls.client_alpns"
	run "$TOOL" quic $EXTRA6 4434 two.test 6b3343cf 3
	is "QUIC version 2, a hello in three Initials, the last one first" "$out" "3 answers"
	logged "... its name" "f.tls.sni == 'two.test'"
}

others() {
	run python3 - $EXTRA4 2222 <<-'PY'
	import socket, sys
	s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
	print(s.recv(100).decode().strip())
	PY
	is "a server that speaks first" "$out" "SSH-2.0-test"
	logged "... is known by its banner" "f.app_proto == 'ssh' and not f.tls"
	run sh -c "printf hello | nc -N -w 2 $EXTRA4 2222"
	logged "... also where the client has said hello before" "f.app_proto in (None, 'ssh')"
	run sh -c "printf 'hello there' | nc -u -w 1 $EXTRA4 2222"
	logged "what nobody knows has no name" "f.proto == 'UDP' and not f.app_proto"
	OPTIONS=ndpi=yes
	run sh -c "printf '\\20\\20\\0\\4MQTT\\4\\2\\0\\74\\0\\4abcd' | nc -N -w 2 $EXTRA4 4433; true"
	case $out in
	*"without nDPI"*) skip "nDPI" "weir was built without it" ;;
	*) logged "but nDPI knows some" "f.app_proto == 'mqtt'" ;;
	esac
	OPTIONS=
}

events() {
	OPTIONS=http-events=yes,tls-events=yes
	run curl -s --max-time 20 http://$PLAIN4:8080/hello http://$PLAIN4:8080/none -o /dev/null
	check "requests of a connection, with their answers" python3 "$TOP/tests/lib/eve.py" \
		"$TMP/log.json" "[(e.http.url, e.http.status, e.http.http_method) for e in flows
			if e.event_type == 'http'] == [('/hello', 200, 'GET'), ('/none', 404, 'GET')]"
	check "... with flow and owner" python3 "$TOP/tests/lib/eve.py" "$TMP/log.json" \
		"[(e.flow_id, e.dest_port, e.weir.owner.comm) for e in flows if e.event_type == 'http'] ==
			2 * [([f for f in flows if f.event_type == 'flow'][0].flow_id, 8080, 'curl')]"
	run curl -s --max-time 20 --cacert "$TMP/cert.pem" --resolve weir.test:8443:$PLAIN4 \
		https://weir.test:8443/hello
	check "a hello" python3 "$TOP/tests/lib/eve.py" "$TMP/log.json" \
		"[e.tls.offered_version for e in flows if e.event_type == 'tls'] == ['TLS 1.3']"
	OPTIONS=
}

# What rules refuse never reaches the server, whole or in parts; what they do not refuse is as before.
refused() {
	RULES='block if sni == "bytes.test"'
	run "$TOOL" tls $EXTRA4 4433 bytes.test 295
	is "a rule by the name of a hello in one-byte segments" "$out" "ECONNRESET"
	is "... no byte of it was sent" "$(tail -n 1 "$TMP/tls.log")" "got 0"
	logged "... and the record says so" "f.weir.verdict == 'block' and
		f.weir.rule.endswith('rules:1') and f.tls.sni == 'bytes.test'"
	run "$TOOL" tls $EXTRA4 4433 other.test 295
	is "... lets other names pass" "$out" "300 of 300"
	RULES='block if ja4 =~ "^t13d1516h2_"'
	run "$TOOL" tls $EXTRA4 4433 large.test 5000
	is "a rule by JA4" "$out" "ECONNRESET"
	RULES='block if sni == "one.test"'
	run "$TOOL" quic $EXTRA4 4434 one.test 1 1
	like "a rule by the name of a QUIC hello" "$out" "E[A-Z]+ 0 answers|^0 answers"
	run "$TOOL" quic $EXTRA6 4434 one.test 6b3343cf 3
	like "... that comes in three Initials" "$out" "E[A-Z]+ 0 answers|^0 answers"
	run "$TOOL" quic $EXTRA6 4434 two.test 6b3343cf 3
	is "... lets other names pass" "$out" "3 answers"
	RULES='block if http.host == "bad.test" and http.path == "/hello"'
	run curl -s --max-time 20 --resolve bad.test:8080:$PLAIN4 http://bad.test:8080/hello?x
	like "a rule by host and path of a request" "$out" "^status 56"
	run curl -s --max-time 20 --resolve bad.test:8080:$PLAIN4 http://bad.test:8080/hello/../hello
	like "... by the path as curl sends it" "$out" "^status 56"
	run curl -s --max-time 20 --resolve good.test:8080:$PLAIN4 http://good.test:8080/hello
	is "... lets other hosts pass" "$out" "hello from nginx"
	RULES='block if app == "ssh"'
	run sh -c "nc -w 2 $EXTRA4 2222 </dev/null; true"
	is "a rule by what the server says first" "$out" ""
	RULES=
}

need_weir
topology_up
need_tools tests/netns/names_tool
command -v nginx >/dev/null || skip_all "needs nginx"
nginx_up
cat >"$TMP/ssh.py" <<'PY'
import socket, sys
s = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready")
while True:
    c, _ = s.accept()
    c.sendall(b"SSH-2.0-test\r\n")
    c.close()
PY
start_ready "$TMP/ssh.log" in_net python3 -u "$TMP/ssh.py" $EXTRA4 2222
OPTIONS= RULES=
tls13_server
curl_tls
curl_http
bytewise
quic
others
events
refused
done_testing
