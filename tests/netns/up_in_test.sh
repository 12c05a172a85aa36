#!/bin/bash
# SPDX-License-Identifier: MIT
# `weir up`: connections from outside to servers of this host. Clients are in $NET; topology.sh: drawing. What
# they and the servers see must be the same as without weir, and every connection to a selected user's
# server be in the log, with the client's own address.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/up.sh"

HOST4=10.77.0.2 HOST6=fd77::2
. "$(dirname "$0")/in_cases.sh"
PY=/usr/bin/python3

# a server that says who came, echoes, and stops when its file is removed
write_server() {
	cat >"$TMP/server.py" <<-'PY'
	import os, socket, sys, threading
	stop = sys.argv[1]
	opts = sys.argv[2].split(",")
	socks = []
	for at in sys.argv[3:]:
	    addr, port = at.rsplit("|", 1)
	    s = socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET)
	    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	    if "reuseport" in opts:
	        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
	    if "device" in opts:
	        s.setsockopt(socket.SOL_SOCKET, 25, b"h0\0")
	    if ":" in addr:
	        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int("only6" in opts))
	    if int(port):
	        s.bind((addr, int(port)))
	    s.listen(5 if "short" in opts else 64)
	    socks.append(s)
	def one(c, a):
	    try:
	        c.sendall(b"%s %d %s\n" % (a[0].replace("::ffff:", "").encode(), a[1], c.getsockname()[0].encode()))
	        while d := c.recv(65536):
	            c.sendall(d)
	    except OSError:
	        pass
	    c.close()
	def serve(s):
	    while True:
	        c, a = s.accept()
	        threading.Thread(target=one, args=(c, a), daemon=True).start()
	for s in socks:
	    threading.Thread(target=serve, args=(s,), daemon=True).start()
	print("ready", *(s.getsockname()[1] for s in socks), flush=True)
	sys.stdin.read() if stop == "-" else None
	import time
	while os.path.exists(stop):
	    time.sleep(0.05)
	os._exit(0)
	PY
}

SERVERS=0

# server UID OPTIONS ADDR|PORT...: $SERVER is the file that keeps it going, $SERVER_LOG what it said
server() {
	local uid=$1
	shift
	SERVERS=$((SERVERS + 1))
	SERVER=$TMP/server.$SERVERS SERVER_LOG=$TMP/server.$SERVERS.log
	: >"$SERVER"
	start_ready "$SERVER_LOG" as "$uid" $PY "$TMP/server.py" "$SERVER" "$@"
}

# says ADDR PORT: what a server there says to who comes from $NET (IN=in_host: from here)
says() { ${IN:-in_net} timeout 10 $PY - "$@" <<-'PY'
	import socket, sys
	try:
	    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
	    print(s.getsockname()[1], s.makefile().readline().strip())
	except OSError as e:
	    print(type(e).__name__)
	PY
}

# FILTER over e and o as in logged(), of connections that came in
came_in() { logged "e['weir']['direction'] == 'in' and $1"; }
logs_in() { [ "$(came_in "$1")" -ge 1 ]; }
listens() { [ "$(logged "$1" listen)" -ge 1 ]; }

# programs that are attached to $HOST's look-up of sockets
attached() { in_host $PY - <<-'PY'
	import ctypes, os, struct
	fd = os.open("/proc/self/ns/net", os.O_RDONLY)
	ids = (ctypes.c_uint32 * 16)()
	attr = ctypes.create_string_buffer(struct.pack("=IIIIQI", fd, 36, 0, 0, ctypes.addressof(ids), 16), 128)
	n = ctypes.CDLL(None, use_errno=True).syscall(321 if os.uname().machine == "x86_64" else 280, 16, attr, 128)
	print(struct.unpack_from("=I", attr, 24)[0] if n == 0 else "error %d" % ctypes.get_errno())
	PY
}

fidelity() {
	start_ready "$TMP/peer.log" as $ALICE "$B/tests/lib/peer" 0 $HOST4 - $HOST6 -
	each_case direct_case
	up_start --user $ALICE --hook count || return
	is "a program steers" "$(attached)" 1
	each_case weir_case
	check "a server that was there before is seen" logs_in "o.get('comm') == 'peer'"
	is "every connection of the probe is in the log" \
		"$(came_in "e['dest_port'] == 7001 and o.get('uid') != $ALICE")" 0
}

before_and_after() {
	server $ALICE - "0.0.0.0|8001" "::|8002"
	like "a server that starts later, IPv4" "$(says $HOST4 8001)" "^[0-9]+ 10.78.0.2 [0-9]+ "
	like "... wildcard of IPv6, by IPv4" "$(says $HOST4 8002)" "^[0-9]+ 10.78.0.2 "
	like "... by IPv6" "$(says $HOST6 8002)" "^[0-9]+ fd78::[0-9]+ [0-9]+ fd77::2"
	wait_for 5 logs_in "e['dest_port'] == 8002 and e['dest_ip'] == '$HOST6'"
	check "all are in the log" test "$(came_in "e['dest_port'] in (8001, 8002) and o.get('uid') == $ALICE")" = 3
	check "with the client's address" test "$(came_in "e['dest_port'] == 8001 and e['src_ip'] == '10.78.0.2'")" = 1
	check "that they listen is, too" listens \
		"e['dest_port'] == 8001 and e['weir']['state'] == 'listening' and o.get('comm') == 'python3'"
	check "also what listened before weir" listens "e['dest_port'] == 7001 and o.get('comm') == 'peer'"
	local out port
	out=$(says $HOST4 8001)
	port=${out%% *}
	check "the client's own port is orig_port" wait_for 5 logs_in "e['weir'].get('orig_port') == $port"
	is "an address where nobody listens refuses" "$(says $HOST4 8009)" ConnectionRefusedError
	rm "$SERVER"
	check "that they have stopped" wait_for 5 listens "e['dest_port'] == 8001 and e['weir']['state'] == 'closed'"
	is "... and refuse now" "$(says $HOST4 8001)" ConnectionRefusedError
}

kinds() {
	counters_zero
	server $ALICE - "10.77.0.2|8011" "fd77::2|8012"
	like "bound to an address" "$(says $HOST4 8011)" "10.78.0.2"
	like "... IPv6" "$(says $HOST6 8012)" "fd78::"
	server $ALICE only6 "::|8013" "0.0.0.0|8013"
	like "one socket for each family" "$(says $HOST4 8013)" " 10.77.0.2$"
	like "... IPv6" "$(says $HOST6 8013)" " fd77::2$"
	server $ALICE only6 "::|8014"
	is "IPv6 alone does not take IPv4" "$(says $HOST4 8014)" ConnectionRefusedError
	server $ALICE device "0.0.0.0|8015"
	like "bound to the device: not reached by another one" "$(says $HOST4 8015)" "Error|10.78"
	server $ALICE - "0.0.0.0|0"
	local port
	port=$(awk '{ print $2 }' "$SERVER_LOG")
	wait_for 3 listens "e['dest_port'] == $port"
	like "a port that the kernel chose in listen()" "$(says $HOST4 "$port")" "10.78.0.2"
	server $ALICE reuseport "0.0.0.0|8016"
	local first=$SERVER
	server $ALICE reuseport "0.0.0.0|8016"
	rm "$first"
	sleep 0.5
	like "two sockets of one port, one is closed" "$(says $HOST4 8016)" "10.78.0.2"
	wait_for 5 logs_in "e['dest_port'] == 8016"
	is "... the other one's connections are still seen" "$(came_in "e['dest_port'] == 8016")" 1
	rm "$SERVER"
	sleep 0.3
	is "... both are closed" "$(says $HOST4 8016)" ConnectionRefusedError
	wait_for 5 logs_in "e['dest_port'] == $port"
	for port in 8011 8012 8013 $port; do
		check "seen: port $port" test "$(came_in "e['dest_port'] == $port")" -ge 1
	done
	is "nothing of the selected user's was sent by the real device" "$(sent alice)" 0
}

others() {
	server $CAROL - "::|8021"
	like "somebody not selected is reached" "$(says $HOST4 8021)" "10.78.0.2"
	like "... and keeps the client's port" "$(says $HOST6 8021 | awk '{ print $1 == $3 }')" 1
	is "... unseen" "$(logged "e.get('dest_port') == 8021") $(logged "e['dest_port'] == 8021" listen)" "0 0"
	server $ALICE - "0.0.0.0|8022"
	like "a client of this host is not steered" "$(IN=in_host says $HOST4 8022)" "10.77.0.2"
	sleep 0.3
	is "... and not seen as one from outside" "$(came_in "e['dest_port'] == 8022")" 0
	is "weir's own sockets take nobody" "$(in_host timeout 5 $PY - <<-'PY'
	import os, socket, subprocess
	out = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True).stdout
	ports = [l.split()[3] for l in out.splitlines() if l.split()[3].startswith(("127.0.0.1:", "[::1]:"))]
	ends = set()
	for p in ports:
	    host, port = p.rsplit(":", 1)
	    try:
	        s = socket.create_connection((host.strip("[]"), int(port)), 3)
	        ends.add("open " + repr(s.recv(1)))
	    except ConnectionResetError:
	        ends.add("reset")
	print(*ends)
	PY
	)" reset
}

bulk() {
	server $ALICE - "::|8031"
	like "50 MB there and back, IPv4 and IPv6, equal" "$(in_net timeout 60 $PY - $HOST4 $HOST6 <<-'PY'
	import hashlib, os, socket, sys, threading
	for a in sys.argv[1:]:
	    s = socket.create_connection((a, 8031), 10)
	    f = s.makefile("rb")
	    f.readline()
	    data = os.urandom(1 << 20) * 50
	    def send():
	        s.sendall(data)
	        s.shutdown(socket.SHUT_WR)
	    t = threading.Thread(target=send)
	    t.start()
	    got = f.read()
	    t.join()
	    print(hashlib.sha256(got).digest() == hashlib.sha256(data).digest(), len(got))
	PY
	)" "^True 52428800.True 52428800"
	server $ALICE short "::|8032"
	is "300 clients at once, who wait for a greeting" "$(crowd 300 8031)" "300 True"
	is "60, of a server with a backlog of 5" "$(crowd 60 8032)" "60 True"
}

crowd() { # N PORT: how many were greeted, and did all get an answer?
	in_net timeout 60 $PY - $HOST4 "$@" <<-'PY'
	import socket, sys
	addr, n, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
	socks = [socket.create_connection((addr, port), 30) for _ in range(n)]
	files = [s.makefile("rw") for s in socks]
	seen = {tuple(f.readline().split()[:2]) for f in files}
	for i, f in enumerate(files):
	    f.write("%d\n" % i)
	    f.flush()
	print(len(seen), all(f.readline() == "%d\n" % i for i, f in enumerate(files)))
	PY
}

# sshd runs as the user nobody here, without a privilege to give up
ssh_server() {
	local dir=$TMP/ssh
	if ! command -v sshd >/dev/null || ! command -v ssh >/dev/null; then
		skip "ssh" "no sshd"
		return
	fi
	up_stop
	up_start --user nobody || return
	mkdir -m 755 -p "$dir" /run/sshd
	ssh-keygen -q -t ed25519 -N "" -f "$dir/host" </dev/null
	ssh-keygen -q -t ed25519 -N "" -f "$dir/key" </dev/null
	chown nobody "$dir/host"
	as 65534 "$(command -v sshd)" -D -e -p 8041 -h "$dir/host" -o PidFile=none -o UsePAM=no \
		-o StrictModes=no -o AuthorizedKeysFile="$dir/key.pub" -o ForceCommand="echo \$SSH_CLIENT" \
		2>"$dir/log" &
	BG+=($!)
	wait_for 5 in_host nc -z $HOST4 8041
	in_net timeout 20 ssh -F none -i "$dir/key" -p 8041 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
		-o ConnectTimeout=5 nobody@$HOST4 >"$dir/out" 2>"$dir/err"
	# the account may have no shell: that it got so far is what counts
	like "sshd sees the client's address" "$(cat "$dir/out" "$dir/log")" "10.78.0.2"
	wait_for 5 logs_in "e['dest_port'] == 8041"
	check "... and is seen" logs_in "e['dest_port'] == 8041 and o.get('comm') == 'sshd' and e['flow']['bytes_toclient'] > 500"
	up_stop
	up_start --user $ALICE
}

# rules decide about connections that come in as about others; by owner, before the server sees one
judged() {
	not_up
	server $ALICE - "::|8091" "::|8092"
	printf '%s\n' "block if dir == in and uid == $ALICE and dst.port == 8092" >"$TMP/in.rules"
	up_start --user $ALICE --rules "$TMP/in.rules" || return
	like "a rule lets one port pass" "$(says $HOST4 8091)" "10.78.0.2"
	like "... and blocks another" "$(says $HOST4 8092)" "ConnectionResetError|^[0-9]+ $"
	check "... which is in the log" wait_for 5 logs_in \
		"e['dest_port'] == 8092 and e['weir']['verdict'] == 'block' and o.get('uid') == $ALICE"
	not_up
}

worker() { in_host "$WEIR" status --runtime-dir "$TMP/run" | sed -n 's/.*worker \([0-9]*\),.*/\1/p'; }

deaths() {
	server $ALICE - "::|8051"
	like "before" "$(says $HOST4 8051)" "10.78.0.2"
	local old
	old=$(worker)
	kill -9 "$old"
	like "the worker is killed: who comes next waits for another one" "$(says $HOST4 8051)" "10.78.0.2"
	like "... IPv6" "$(says $HOST6 8051)" "fd78::"
	check "it is another one" test "$(worker)" != "$old"
	kill -9 $UP_PID
	wait $UP_PID 2>/dev/null
	wait_for 5 no_device
	is "the supervisor is killed: no program is left" "$(attached)" 0
	wait_for 5 only_guard
	like "the answers of a fail-closed user's server stay closed in" "$(says $HOST4 8051)" Timeout
	up_down
	like "... until weir down" "$(says $HOST4 8051)" "10.78.0.2"
	up_start --user $ALICE --fail-open || return
	like "a fail-open user's server" "$(says $HOST4 8051)" "10.78.0.2"
	kill -9 $UP_PID
	wait $UP_PID 2>/dev/null
	wait_for 5 no_device
	wait_for 5 only_guard
	like "... is reached as before weir when it is killed" "$(says $HOST6 8051)" "fd78::"
	up_down
}

only_guard() { ! grep -q '^+ [^g]' "$TMP/run/journal"; }
no_device() { ! in_host ip link show weir0 >/dev/null 2>&1; }

# what the answers' rules do not bring back is not steered; it is served all the same
narrowed() { # NAME SEEN(yes|no) ADDR OPTIONS...: of a server at port 8061
	local name=$1 want=$2 addr=$3
	shift 3
	up_start "$@" || return
	like "$name: served" "$(says $addr 8061)" "10.78.0.2|fd78::"
	sleep 0.3
	is "$name: seen" "$(came_in "e['dest_port'] == 8061" | sed 's/^0$/no/; s/^1$/yes/')" $want
	up_stop
	rm -f "$TMP/up.json"
}

not_up() { ! kill -0 $UP_PID 2>/dev/null || up_stop; }

narrowings() {
	not_up
	server $ALICE - "::|8061"
	rm -f "$TMP/up.json"
	narrowed "--to the client's network" yes $HOST4 --user $ALICE --to 10.78.0.0/16
	narrowed "--to another one" no $HOST4 --user $ALICE --to 10.99.0.0/16
	narrowed "--to another one, and another user" no $HOST4 --user $ALICE --to 10.99.0.0/16 --user $BOB
	narrowed "--to of the other family" no $HOST6 --user $ALICE --to 10.78.0.0/16
	narrowed "--except to=the client's" no $HOST4 --user $ALICE --except to=10.78.0.0/24
	narrowed "--proto udp" no $HOST4 --user $ALICE --proto udp
	narrowed "--port" no $HOST4 --user $ALICE --port 443
	narrowed "--except port= of the usual ones" yes $HOST4 --user $ALICE --except port=5001-9000
	narrowed "a range of users" yes $HOST4 --user 2000-2999
	narrowed "a range without this one" no $HOST4 --user 2000-2999 --except user=$ALICE
	narrowed "--group" yes $HOST4 --group $ALICE
	narrowed "another group" no $HOST4 --group $CAROL
	narrowed "--all" yes $HOST6 --all
	narrowed "--all, fail-open" yes $HOST4 --all --fail-open
	narrowed "root and somebody else" yes $HOST4 --user 0 --user $ALICE
	narrowed "--all but this one" no $HOST4 --all --except user=$ALICE
	narrowed "--mark" no $HOST4 --mark 7
	narrowed "--no-bpf" no $HOST4 --no-bpf --user $ALICE
}

reloaded() {
	not_up
	server $ALICE - "::|8071"
	server $BOB - "::|8072"
	printf 'user = %s\n' $BOB >"$TMP/weir.conf"
	UP_CONFIG="--config $TMP/weir.conf" up_start || return
	says $HOST4 8071 >/dev/null
	printf 'user = %s\n' $ALICE >"$TMP/weir.conf"
	kill -HUP $UP_PID
	wait_for 5 grep -q reloaded "$TMP/up.err"
	like "after a reload: the newly selected is served" "$(says $HOST4 8071)" "10.78.0.2"
	like "... the other one as well" "$(says $HOST4 8072)" "10.78.0.2"
	wait_for 5 logs_in "e['dest_port'] == 8071"
	is "... and seen" "$(came_in "e['dest_port'] == 8071")" 1
	is "... not the one that was" "$(came_in "e['dest_port'] == 8072")" 0
	up_stop
}

need_weir
need_tools tests/fidelity/probe tests/lib/peer
command -v setpriv >/dev/null || skip_all "needs setpriv"
topology_up
counters_up
mkdir -p "$TMP/run" && chmod 755 "$TMP"
write_server
host_state >"$TMP/state"
[ -z "${ONLY-}" ] || up_start --user $ALICE
for step in ${ONLY:-fidelity before_and_after kinds others bulk ssh_server deaths narrowings reloaded judged}; do
	$step
done
not_up
up_down >/dev/null 2>&1
host_state >"$TMP/after"
is "nothing is left" "$(diff "$TMP/state" "$TMP/after")" ""
is "no program either" "$(attached)" 0
done_testing
