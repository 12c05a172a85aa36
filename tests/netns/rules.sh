# SPDX-License-Identifier: MIT
# rules.sh - what the tests of rules share; sourced after topology.sh. Servers on $EXTRA4 and $EXTRA6:
#
#   7001, 7002, 7101 UDP echo   25 says "220 hello" first   8000 sends without end   8001 sends 1,000,000 bytes
#   8002 takes what comes, and 8003 tells how much that was   443 TLS
#
# syns PORT: how many SYNs have come to $NET for this port. KNOCK: tests/lib/knock.py.

KNOCK="python3 $TOP/tests/lib/knock.py"

rules() { # NAME: the file $TMP/NAME.rules is standard input
	cat >"$TMP/$1.rules"
}

rules_servers() {
	cat >"$TMP/servers.py" <<-'PY'
	import socket, sys, threading, time
	def serve(port, fn):
	    for addr in sys.argv[1:]:
	        s = socket.create_server((addr, port), family=socket.AF_INET6 if ":" in addr else socket.AF_INET)
	        threading.Thread(target=accept, args=(s, fn), daemon=True).start()
	def accept(s, fn):
	    while True:
	        c, _ = s.accept()
	        threading.Thread(target=guard, args=(c, fn), daemon=True).start()
	def guard(c, fn):
	    try: fn(c)
	    except OSError: pass
	    c.close()
	got = {"bytes": 0}
	def echo(c):
	    while d := c.recv(65536):
	        c.sendall(d)
	def hello(c):
	    c.sendall(b"220 hello\r\n"); c.recv(100)
	def sink(c): # what came is told on another port
	    while d := c.recv(65536):
	        got["bytes"] += len(d)
	def told(c):
	    c.sendall(b"%d" % got["bytes"]); got["bytes"] = 0
	def endless(c):
	    while True: c.sendall(b"x" * 10000); time.sleep(0.01)
	def million(c):
	    c.sendall(b"y" * 1000000); c.recv(1)
	def datagrams(addr):
	    s = socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET, socket.SOCK_DGRAM)
	    s.bind((addr, 7101))
	    while True:
	        d, a = s.recvfrom(65536); s.sendto(d, a)
	for port, fn in ((7001, echo), (7002, echo), (25, hello), (8000, endless), (8001, million), (8002, sink), (8003, told)):
	    serve(port, fn)
	for addr in sys.argv[1:]:
	    threading.Thread(target=datagrams, args=(addr,), daemon=True).start()
	print("ready", flush=True)
	threading.Event().wait()
	PY
	start_ready "$TMP/servers.log" in_net python3 "$TMP/servers.py" $EXTRA4 $EXTRA6
	in_net nft -f - <<-'NFT'
	table inet syns {
		set ports { type inet_service; counter; elements = { 25, 80, 443, 7001, 7002, 7003, 8000, 8001 } }
		chain in {
			type filter hook input priority 0; policy accept;
			tcp flags & (syn | ack) == syn tcp dport @ports counter
		}
	}
	NFT
}

syns() { # PORT
	in_net nft -j list set inet syns ports | python3 -c '
import json, sys
port = int(sys.argv[1])
for o in json.load(sys.stdin)["nftables"]:
    for e in o.get("set", {}).get("elem", []):
        e = e.get("elem", e)
        if e["val"] == port:
            print(e["counter"]["packets"])
' "$1"
}

tls_server() {
	command -v openssl >/dev/null && command -v curl >/dev/null || return 1
	openssl req -x509 -newkey rsa:2048 -nodes -keyout "$TMP/key.pem" -out "$TMP/cert.pem" -days 30 \
		-subj /CN=test 2>/dev/null
	bg in_net openssl s_server -accept $EXTRA4:443 -cert "$TMP/cert.pem" -key "$TMP/key.pem" -www -quiet \
		>/dev/null 2>&1
	wait_for 10 in_net bash -c "exec 3<>/dev/tcp/$EXTRA4/443"
}

# weir in the background, running a shell that takes commands: inside COMMAND puts what it prints to $TMP/inside
weir_start() { # OPTIONS
	rm -f "$TMP/do" "$TMP/log.json"
	mkfifo "$TMP/do"
	: >"$TMP/inside"
	: >"$TMP/err"
	exec 7<>"$TMP/do" # nobody waits for a reader that has ended
	nsenter --net=/run/netns/$HOST env XDG_RUNTIME_DIR="$TMP/run" timeout --foreground -k 5 120 \
		"$WEIR" run --log "$TMP/log.json" "$@" -- \
		bash -c 'while read -r line; do eval "$line"; done' <"$TMP/do" >"$TMP/inside" 2>"$TMP/err" 7>&- &
	WEIR_JOB=$!
	BG+=($WEIR_JOB)
	wait_for 10 weir flows || { not_ok "weir run $*" "$(cat "$TMP/err")"; return 1; }
	inside 'echo up'
	wait_for 10 grep -q '^up' "$TMP/inside"
}

inside() { echo "$*" >&7; }
worker() { pgrep -x weir -P "$(pgrep -x weir -P $WEIR_JOB)"; } # its pid
said() { wait_for "${2:-10}" grep -qE -- "$1" "$TMP/inside"; } # REGEX [SECONDS]
weir() { env XDG_RUNTIME_DIR="$TMP/run" "$WEIR" "$@"; }

weir_end() {
	inside 'exit 0'
	wait $WEIR_JOB
}

held() { # how many flows are held
	weir flows 'state == held' | wc -l
}
held_id() { weir flows 'state == held' | python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["flow_id"])'; }
