#!/bin/bash
# SPDX-License-Identifier: MIT
# Connections from outside: --publish. The probe of tests/fidelity runs in $NET here, and what it sees of
# servers on $HOST must be the same whether they run there or inside weir. topology.sh: drawing.
. "$(dirname "$0")/topology.sh"

HOST4=10.77.0.2 HOST6=fd77::2
. "$(dirname "$0")/in_cases.sh"

peer=("$B/tests/lib/peer" 0 $HOST4 - $HOST6 -)

# end PID: of a job; TERM to what it runs, which timeout(1) and weir pass on
end() {
	pkill -TERM -P "$1"
	wait "$1" 2>/dev/null
}

weir_of() { pgrep -x weir -P "$(pgrep -P "$1")"; } # PID of a job

# listens PORT: somebody does in $HOST
listens() { in_host ss -Hltn "sport = :$1" | grep -q .; }

fidelity() {
	start_ready "$TMP/direct.log" in_host "${peer[@]}"
	local direct=$!
	each_case direct_case
	end $direct
	start_ready "$TMP/peer.log" weir_run --publish auto --log "$TMP/peer.json" -- "${peer[@]}"
	INSIDE=$!
	check "--publish auto: the ports of a server appear" wait_for 5 listens 7001
	sleep 0.3 # UDP ports come with the same look
	each_case weir_case
}

# the record of a flow that came in: the client is the source, whatever the direction of bytes
records() {
	local out
	out=$(grep '"dest_port":7001' "$TMP/peer.json" | grep '"src_ip":"10.78.0.' | head -1)
	like "a record says where it came in" "$out" '"direction":"in","published_port":7001'
	like "... to which program" "$out" '"comm":"peer"'
	like "... from whom to whom" "$out" '"src_ip":"10.78.0.[0-9]+","src_port":[0-9]+,"dest_ip":"10.77.0.2"'
	out=$(grep '"dest_port":7002' "$TMP/peer.json" | head -1)
	like "weir says what is listened on" "$(cat "$TMP/peer.log")" \
		"peer\([0-9]+\) listens on port 7001, published as 0.0.0.0:7001"
}

worker_of() { pgrep -x weir -P "$(weir_of "$1")"; } # PID of a job; the keeper has another name

worker_killed() {
	local before client
	# the probe's idle case is in its pause when the worker dies
	bg probe 4 idle >"$TMP/cut.out"
	client=$!
	sleep 1
	before=$(worker_of $INSIDE)
	kill -9 "$before"
	check "the worker is killed: the ports stay" listens 7001
	wait $client
	check "... connections end" eval '! grep -q "echo yes.*echo yes" "$TMP/cut.out"'
	like "... and work, with another one" "$(probe 4 echo 7001)" "good rounds 40 of 40"
	like "... for UDP, too" "$(probe 6 dgram_order)" "1000 of 1000"
	check "it is another one" test "$(worker_of $INSIDE)" != "$before"
	end $INSIDE
	check "with COMMAND the ports go" wait_for 5 eval '! listens 7001'
}

server() { # PY: a program inside
	cat >"$TMP/server.py"
}

named_ports() {
	server <<-'PY'
	import socket, sys, threading
	def tcp(port, backlog=64):
	    s = socket.socket(socket.AF_INET6)
	    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
	    s.bind(("::", port)); s.listen(backlog)
	    return s
	def serve(s):
	    while True:
	        c, a = s.accept()
	        c.sendall(b"%s %d %d\n" % (a[0].encode(), a[1], s.getsockname()[1])); c.close()
	u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
	u.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
	u.bind(("::", 53))
	threading.Thread(target=serve, args=(tcp(80),), daemon=True).start()
	print("ready", flush=True)
	while True:
	    d, a = u.recvfrom(65536)
	    u.sendto(b"%s %d " % (a[0].encode(), a[1]) + d, a)
	PY
	ip -n $HOST addr add 10.77.0.9/24 dev h0
	start_ready "$TMP/named.log" weir_run --log "$TMP/named.json" --publish 8080:80 --publish 8081:80 \
		--publish 10.77.0.9:8082:80 --publish '[::1]:8083:80' --publish 8090:81 \
		--publish 53/udp -- python3 "$TMP/server.py"
	local pid=$! out
	like "another port inside" "$(in_net nc -w5 $HOST4 8080)" "10.78.0.[0-9]+ [0-9]+ 80"
	like "... IPv6" "$(in_net nc -w5 $HOST6 8080)" "fd78::.* 80"
	like "one address only" "$(in_net nc -w5 10.77.0.9 8082)" "10.78.0.[0-9]+ [0-9]+ 80"
	check "... and not the others" eval '! in_net nc -w5 -z $HOST4 8082'
	like "loopback comes from a stand-in" "$(in_host nc -w5 127.0.0.1 8080)" "192.0.2.1 [0-9]+ 80"
	like "... IPv6" "$(in_host nc -w5 ::1 8083)" "2001:db8::1 [0-9]+ 80"
	like "the host's own address, too" "$(in_host nc -w5 $HOST4 8080)" "192.0.2.1 [0-9]+ 80"
	out=$(in_net python3 - <<-'PY'
	import socket
	a = [socket.socket() for _ in range(2)]
	for i, s in enumerate(a):
	    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	    s.bind(("10.78.0.2", 4444))
	    s.connect(("10.77.0.2", 8080 + i))
	    print(s.recv(99).decode().split()[1])
	PY
	)
	like "one client port to two published ports" "${out//$'\n'/ }" "^4444 [0-9]+$"
	like "nobody listens inside: the connection is reset" "$(in_net python3 - <<-'PY'
	import socket
	s = socket.create_connection(("10.77.0.2", 8090))
	try: print(s.recv(9))
	except ConnectionResetError: print("reset")
	PY
	)" "^reset"
	like "UDP" "$(in_net python3 - <<-'PY'
	import socket
	for at in ("10.77.0.2", "10.77.0.9", "fd77::2"):
	    s = socket.socket(socket.AF_INET6 if ":" in at else socket.AF_INET, socket.SOCK_DGRAM)
	    s.settimeout(5); s.connect((at, 53)); s.send(b"q"); print(s.recv(99).decode(), end=" ")
	PY
	)" "10.78.0.[0-9]+ [0-9]+ q .*10.78.0.[0-9]+ [0-9]+ q fd78::"
	like "UDP from loopback" "$(in_host python3 - <<-'PY'
	import socket
	s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	s.settimeout(5); s.connect(("127.0.0.1", 53)); s.send(b"q"); print(s.recv(99).decode())
	PY
	)" "192.0.2.1 [0-9]+ q"
	like "weir flows shows what came in" "$(in_host "$WEIR" flows --instance "$(weir_of $pid)")" '"direction":"in"'
	end $pid
	like "refused in the record" "$(grep '"published_port":8090' "$TMP/named.json")" \
		'"reason":"refused".*ECONNREFUSED'
	like "the table has the client, not its port" "$(cat "$TMP/named.log")" "port 80 from 10.78.0.2 "
}

# the listening process at first, the one that answered in the end
owner_of_accepted() {
	server <<-'PY'
	import os, socket
	s = socket.socket(); s.bind(("", 80)); s.listen(9)
	print("ready", flush=True)
	while True:
	    c, a = s.accept()
	    if os.fork() == 0:
	        s.close(); c.sendall(b"%d\n" % os.getpid()); c.recv(1); os._exit(0)
	    c.close()
	PY
	start_ready "$TMP/fork.log" weir_run --log "$TMP/fork.json" --publish 8080:80 -- \
		python3 "$TMP/server.py"
	local pid=$! child
	child=$(in_net timeout 5 sh -c "{ sleep 0.3; echo; } | nc -w5 $HOST4 8080")
	end $pid
	like "who has the accepted socket is the owner" "$(cat "$TMP/fork.json")" "\"pid\":$child,"
}

follows() {
	server <<-'PY'
	import socket, time, sys, os
	step = sys.argv[1]
	def until(name):
	    while not os.path.exists(step + name): time.sleep(0.02)
	print("ready", flush=True)
	until("listen")
	s = socket.socket(); s.bind(("0.0.0.0", 7777)); s.listen(9)
	t = socket.socket(); t.bind(("0.0.0.0", 7778)); t.listen(9)
	v = socket.socket(); v.bind(("127.0.0.1", 7779)); v.listen(9)
	until("close")
	s.close()
	until("again")
	s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	s.bind(("0.0.0.0", 7777)); s.listen(9)
	until("end")
	PY
	bg in_host nc -l -k -p 7778
	local other=$!
	wait_for 5 listens 7778
	start_ready "$TMP/follow.log" weir_run --publish auto -- python3 "$TMP/server.py" "$TMP/step-"
	local pid=$!
	check "auto: nothing is bound before" eval '! listens 7777'
	touch "$TMP/step-listen"
	check "auto: a server that starts late is followed" wait_for 5 listens 7777
	check "... of IPv4 only, as it listens" eval '! in_net nc -z -w2 $HOST6 7777'
	check "... and reached" in_net nc -z -w2 $HOST4 7777
	check "... not one on loopback" eval '! listens 7779'
	touch "$TMP/step-close"
	check "auto: a port goes when the server stops" wait_for 5 eval '! listens 7777'
	touch "$TMP/step-again"
	check "auto: and comes again" wait_for 5 listens 7777
	like "auto: a port that is taken is said" "$(cat "$TMP/follow.log")" \
		"port 7778 can't be published: Address already in use"
	is "... once" "$(grep -c "port 7778 can't" "$TMP/follow.log")" 1
	end $other
	check "... and had when it is free" wait_for 5 in_net nc -z -w2 $HOST4 7778
	touch "$TMP/step-end"
	wait $pid
	check "auto: nothing is left" eval '! listens 7777'
}

errors() {
	local out
	bg in_host nc -l -k -p 8888
	wait_for 5 listens 8888
	out=$(weir_run --publish 8888 -- true 2>&1)
	is "a port that is taken: status" $? 126
	like "... and why" "$out" "publish 8888: Address already in use"
}

bounds() {
	server <<-'PY'
	import socket
	s = socket.socket(); s.bind(("", 80)); s.listen(64)
	print("ready", flush=True)
	keep = []
	while True: keep.append(s.accept()[0]); keep[-1].sendall(b"x")
	PY
	start_ready "$TMP/bound.log" weir_run --max-flows 8 --publish 8080:80 -- python3 "$TMP/server.py"
	local pid=$!
	like "--max-flows: peers get half, others are reset" "$(in_net python3 - <<-'PY'
	import socket
	got, keep = [], []
	for _ in range(6):
	    s = socket.create_connection(("10.77.0.2", 8080)); keep.append(s)
	    try: got.append(s.recv(1).decode() or "-")
	    except ConnectionResetError: got.append("r")
	print("".join(got))
	PY
	)" "^xxxxrr"
	end $pid
	like "... and that is said" "$(cat "$TMP/bound.log")" "peers have half of the table of 8 flows"
}

real_servers() {
	cat >"$TMP/nginx.conf" <<-CONF
	user root; daemon off; worker_processes 2; pid $TMP/nginx.pid; error_log $TMP/nginx.err;
	events { worker_connections 1024; }
	http {
		access_log $TMP/access.log;
		client_body_temp_path $TMP/nb; proxy_temp_path $TMP/np; fastcgi_temp_path $TMP/nf;
		uwsgi_temp_path $TMP/nu; scgi_temp_path $TMP/ns;
		server { listen 80 reuseport; listen [::]:80 reuseport; root $TMP/www; }
	}
	CONF
	mkdir -p "$TMP/www"
	head -c 50000000 /dev/urandom >"$TMP/www/blob"
	bg weir_run --publish 8080:80 -- nginx -c "$TMP/nginx.conf" 2>"$TMP/nginx.log"
	local pid=$! sum
	wait_for 10 in_net curl -sf -o /dev/null http://$HOST4:8080/blob
	sum=$(cksum <"$TMP/www/blob")
	is "nginx: 50 MB" "$(in_net curl -s http://$HOST4:8080/blob | cksum)" "$sum"
	is "nginx: 50 MB, IPv6" "$(in_net curl -s "http://[$HOST6]:8080/blob" | cksum)" "$sum"
	is "nginx: 200 at once" "$(in_net sh -c 'seq 200 | xargs -P 50 -I{} curl -s -o /dev/null -r 0-99 \
		-w "%{http_code}\n" http://10.77.0.2:8080/blob' | grep -c 206)" 200
	like "nginx logs the client's address" "$(cat "$TMP/access.log")" "^10.78.0."
	end $pid
	bg weir_run -q --publish 5201 --publish 5201/udp -- iperf3 -s >"$TMP/iperf.log"
	pid=$!
	wait_for 10 in_net nc -z $HOST4 5201
	for args in "" "-R" "-u -b 50M" "-u -b 50M -R"; do
		check "iperf3 -s, client $args" wait_for 10 in_net iperf3 -c $HOST4 -t 1 $args
	done
	end $pid
}

need_weir
need_tools tests/fidelity/probe tests/lib/peer
topology_up
fidelity
worker_killed
records
named_ports
owner_of_accepted
follows
errors
bounds
real_servers
done_testing
