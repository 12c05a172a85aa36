#!/bin/bash
# SPDX-License-Identifier: MIT
#
# kill -9 of each process of a run, again and again at random moments: nothing is left.
#
#   net namespace            host namespace
#   10.89.0.1, fd89::1  <->  10.89.0.2, fd89::2     weir: supervisor, keeper, worker
#   server (python3)
#
# KILLS=N: how often in all (100)
. "$(dirname "$0")/lib.sh"

HOST=weirk-h$$
NET=weirk-n$$
netns_new "$HOST" && netns_new "$NET" || skip_all "no network namespaces here"
in_ns "$HOST" ip link add up0 type veth peer name eth0 netns "$NET"
for end in "$HOST up0 2" "$NET eth0 1"; do
	set -- $end
	in_ns "$1" ip link set lo up
	in_ns "$1" ip addr add "10.89.0.$3/24" dev "$2"
	in_ns "$1" ip addr add "fd89::$3/64" dev "$2" nodad
	in_ns "$1" ip link set "$2" up
done
in_ns "$HOST" ip route add default via 10.89.0.1
in_ns "$HOST" ip -6 route add default via fd89::1

# Everything that a run starts inherits this, COMMAND's children in sessions of their own too.
export WEIR_KILL_TEST=kill-$$

# count what is left: processes of the run, and network namespaces that hold a weir0
left() {
	grep -lza "^WEIR_KILL_TEST=kill-$$\$" /proc/[0-9]*/environ 2>/dev/null |
		grep -v "^/proc/\(self\|$$\|$BASHPID\)/" | while IFS=/ read -r _ _ pid _; do
		[ "$(cat "/proc/$pid/cmdline" 2>/dev/null | tr '\0' ' ' | grep -c "$TMP/weir\|left-behind")" = 0 ] || echo "$pid"
	done
}
none_left() { [ -z "$(left)" ]; }
# namespaces of tests that run at the same time are mounts, too
mounts() { grep -vc "/run/netns\| nsfs " /proc/self/mountinfo; }

# role WEIR_PID: command, keeper, worker of a supervisor
children() { cat "/proc/$1/task/$1/children" 2>/dev/null; }
keeper_of() { local p; for p in $(children "$1"); do [ "$(cat "/proc/$p/comm" 2>/dev/null)" = weir-keeper ] && echo "$p"; done; }
worker_of() { local p; for p in $(children "$1"); do [ "$(cat "/proc/$p/comm" 2>/dev/null)" != weir-keeper ] && echo "$p"; done; }
command_of() { local k; k=$(keeper_of "$1"); [ -n "$k" ] && children "$k" | awk '{print $1}'; }
supervisor() { echo "$1"; }
supervisor_of() { echo "$1"; }

# COMMAND with what is hard to end: a double fork, a new session, ignored signals
HARD='import os, signal, time
for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
if os.fork() == 0:
    time.sleep(60)
open("'"$TMP"'/share/up", "w").close()
time.sleep(60) # left-behind'

before=$(mounts)
# one WHO ROLE DELAY_MS: start, kill -9 ROLE after DELAY_MS, all must go
one() {
	local who=$1 role=$2 ms=$3 weir victim status
	rm -f "$TMP/share/up"
	prefix "$who" "$HOST"
	"${PRE[@]}" "$WEIR" run -q -- python3 -c "$HARD" 2>"$TMP/err" &
	weir=$!
	[ "$ms" = up ] && wait_for 5 test -e "$TMP/share/up"
	[ "$ms" = up ] || sleep "0.$(printf %03d "$ms")"
	victim=$("${role}_of" "$weir" | head -1)
	[ -n "$victim" ] && kill -9 "$victim" 2>/dev/null
	if [ "$role" = worker ] || [ -z "$victim" ]; then
		sleep 0.05
		kill -9 "$weir" 2>/dev/null
	fi
	# what COMMAND left behind keeps the network, as it should
	[ "$role" = command ] && { sleep 0.05; kill -TERM "$weir" 2>/dev/null; }
	wait "$weir" 2>/dev/null
	status=$?
	if ! wait_for 5 none_left; then
		diag "left after kill of $role at $ms ms as $who: $(left | xargs -n1 ps -o pid,ppid,stat,args -p 2>/dev/null | tr '\n' ';')"
		left | xargs -r kill -9
		return 1
	fi
	LAST=$status
}

for who in root user; do
	prefix $who
	one $who supervisor up
	is $? 0 "$who: supervisor killed: nothing is left"
	is $LAST 137 "$who: ... 137"
	one $who keeper up
	is $? 0 "$who: keeper killed: nothing is left"
	is $LAST 137 "$who: ... 137"
	is "$(wc -l <"$TMP/err")" 1 "$who: ... and one line says it"
	one $who command up
	is $? 0 "$who: COMMAND killed: nothing is left"
	is $LAST 137 "$who: ... 137"
done

# --- a worker's crash under a program that waits in recv()
cat >"$TMP/server.py" <<'EOF'
import socket, threading
def serve(s):
    while True:
        c, _ = s.accept()
        threading.Thread(target=hold, args=(c,), daemon=True).start()
def hold(c):
    c.sendall(b"hello")
    try:
        while c.recv(1000): pass
    except OSError: pass
    c.close()
for family, host in ((socket.AF_INET, "10.89.0.1"), (socket.AF_INET6, "fd89::1")):
    s = socket.socket(family)
    s.bind((host, 8000))
    s.listen(64)
    threading.Thread(target=serve, args=(s,)).start()
EOF
cat >"$TMP/client.py" <<'EOF'
import errno, os, signal, socket, sys, time
host = sys.argv[1]
signal.alarm(30) # never told: dies without a word
s = socket.create_connection((host, 8000), 5)
s.settimeout(None)
assert s.recv(5) == b"hello"
open(sys.argv[2], "w").close()
t = time.time()
try:
    s.recv(1)
    print("end of data")
except OSError as e:
    print(errno.errorcode[e.errno], "at once" if time.time() - t < 3 else "late")
s = socket.create_connection((host, 8000), 5)
print(s.recv(5).decode())
EOF
env -u WEIR_KILL_TEST nsenter --net="/run/netns/$NET" -- python3 "$TMP/server.py" &
server=$!
disown $server
wait_for 5 in_ns "$HOST" python3 -c 'import socket; socket.create_connection(("10.89.0.1", 8000), 1)'
for who in root user; do
	for host in 10.89.0.1 fd89::1; do
		rm -f "$TMP/share/up"
		prefix $who "$HOST"
		"${PRE[@]}" "$WEIR" run --log "fd:9" -- python3 "$TMP/client.py" $host "$TMP/share/up" \
			>"$TMP/out" 2>"$TMP/err" 9>"$TMP/log" &
		weir=$!
		wait_for 5 test -e "$TMP/share/up"
		ok $? "$who $host: connection open"
		sleep 0.1
		kill -9 "$(worker_of $weir)" 2>/dev/null
		wait $weir
		is "$(cat "$TMP/out")" $'ECONNABORTED at once\nhello' "$who $host: worker killed: recv() ends, the next connection works"
		like "$(cat "$TMP/err")" 'worker was killed by signal 9' "$who $host: it is said"
		like "$(cat "$TMP/err")" "lost: python.* -> .*8000" "$who $host: ... with what was lost"
		like "$(cat "$TMP/log")" 'crash' "$who $host: ... and logged"
	done
done
kill $server

prefix user "$HOST"
"${PRE[@]}" "$WEIR" run -- sleep 20 2>"$TMP/err" &
weir=$!
for _ in 1 2 3 4 5 6 7 8; do
	worker=
	wait_for 2 eval '[ -n "$(worker_of $weir)" ] && grep -q "Seccomp:.*2" /proc/$(worker_of $weir)/status' || break
	sleep 0.05
	worker=$(worker_of $weir)
	kill -9 "$worker" 2>/dev/null
	wait_for 1 test ! -e "/proc/$worker"
done
wait $weir
is $? 126 "a worker that crashes again and again ends the run"
like "$(cat "$TMP/err")" 'crashed 6 times' "... and says so"
ok "$(none_left; echo $?)" "... with nothing left"

# --- at random moments
KILLS=${KILLS:-100}
RANDOM=4711
roles=(supervisor keeper worker command)
bad=0
for ((i = 0; i < KILLS; i++)); do
	who=root
	((i % 2)) && who=user
	one $who "${roles[i / 2 % 4]}" $((RANDOM % 90 + 5)) || bad=$((bad + 1))
done
is $bad 0 "$KILLS kills at random moments: no process is left"
is "$(mounts)" "$before" "... no mount"
is "$(ip netns pids "$HOST" | wc -l)" 0 "... nobody in the host's namespace"
done_testing
