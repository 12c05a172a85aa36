#!/bin/bash
# SPDX-License-Identifier: MIT
# Hooks built as shared objects (tests/hooks/tool.c) in real flows: what they change, hold, open and start.
#
#   +-- $HOST -------------------------------------------+
#   |  weir run --host-loopback 10.9.9.9 -- client       |
#   |  server.py on 127.0.0.1:8000 (TCP) and 8001 (UDP)  |
#   +----------------------------------------------------+
#
# The server's body has a word in it that is replaced, with writes of odd sizes, so that it lies across
# the borders of what the hook is shown.
. "$(dirname "$0")/lib.sh"
CC=${CC:-cc}
command -v "$CC" >/dev/null || skip_all "needs a C compiler"
command -v curl >/dev/null || skip_all "needs curl"
HOST=weir-hk-$$
netns_new "$HOST"
in_ns "$HOST" ip link set lo up
MB=${MB:-100}
TO=10.9.9.9

tool() { # NAME [FLAG...]: builds $TMP/NAME.so
	local name=$1
	shift
	"$CC" -std=gnu11 -D_GNU_SOURCE -shared -fPIC -O2 -Iinclude "$@" -o "$TMP/$name.so" tests/hooks/tool.c
}
tool tool && tool calls '-DTOOL_CALLS="sysinfo uname"' && tool evil '-DTOOL_CALLS="sysinfo execve"' &&
	tool unknown '-DTOOL_CALLS="make_coffee"'
ok $? "a hook is built with the public header alone"

cat >"$TMP/server.py" <<'EOF'
import hashlib, random, socket, socketserver, sys, threading
size = int(sys.argv[1]) << 20
random.seed(7)
filler = bytes(random.choice(b"abcdefghijklmnopqrstuvwxyz \n") for _ in range(1 << 16))
def body():
    done = 0
    while done < size:
        n = random.randrange(1, 5000)
        yield filler[:n] + b"needle"
        done += n + 6
class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        if b"/echo" in line:
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\none needle\n")
            return
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        want, part = hashlib.sha256(), b""
        for piece in body():
            want.update(piece.replace(b"needle", b"a rather longer thing"))
            part += piece
            while len(part) > 70000:
                n = random.randrange(1, 70000)
                self.request.sendall(part[:n])
                part = part[n:]
        self.request.sendall(part)
        open(sys.argv[2], "w").write(want.hexdigest())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    def handle_error(self, *who): # flows that are refused are reset
        pass
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", 8001))
def udp():
    while True:
        data, who = u.recvfrom(2000)
        u.sendto(b"a needle for " + data, who)
threading.Thread(target=udp, daemon=True).start()
Server(("127.0.0.1", 8000), Tcp).serve_forever()
EOF
in_ns "$HOST" python3 "$TMP/server.py" "$MB" "$TMP/want" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; cleanup' EXIT
up() { in_ns "$HOST" curl -s -o /dev/null http://127.0.0.1:8000/echo; }
wait_for 10 up

cat >"$TMP/udp.py" <<EOF
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(sys.argv[1].encode(), ("$TO", 8001))
print(s.recv(2000).decode())
EOF
chmod 644 "$TMP/udp.py"

hooked() { # WHO ARGS COMMAND...: under tool.so=ARGS
	local who=$1 args=$2
	shift 2
	as "$who" "$WEIR" run --host-loopback $TO --hook "$TMP/tool.so=$args" --hook count -- "$@"
}

for who in user root; do
	rm -f "$TMP/want"
	got=$(hooked $who "replace=needle:a rather longer thing" curl -s http://$TO:8000/ 2>"$TMP/err" | sha256sum | cut -d' ' -f1)
	is "$got" "$(cat "$TMP/want" 2>/dev/null)" "$who: a word is replaced in a body of $MB MB, wherever it is cut"
	like "$(cat "$TMP/err")" "hook count: 1 flows" "$who: the hook behind it sees it, too"
	got=$(hooked $who "replace=needle:thread" python3 "$TMP/udp.py" you 2>/dev/null)
	is "$got" "a thread for you" "$who: in a datagram as well"

	start=$(date +%s%N)
	got=$(hooked $who "wait=150,replace=needle:thread" curl -s http://$TO:8000/echo 2>/dev/null)
	ms=$((($(date +%s%N) - start) / 1000000))
	is "$got" "one thread" "$who: a hook that waits for its timer goes on"
	ok $((ms < 300)) "$who: not before ($ms ms)"
	got=$(hooked $who "wait=50" python3 "$TMP/udp.py" you 2>/dev/null)
	is "$got" "a needle for you" "$who: a datagram waits, too"

	rm -f "$TMP/share/log"
	err=$(hooked $who "open=$TMP/share/log,try=/etc/hostname" curl -s -o /dev/null http://$TO:8000/echo 2>&1)
	like "$(cat "$TMP/share/log")" " $TO " "$who: a file that the configuration names is opened after the lock-down"
	like "$err" "try /etc/hostname: Permission denied" "$who: no other one"
	ln -sf /etc/hostname "$TMP/share/link"
	err=$(hooked $who "open=$TMP/share,try=$TMP/share/link" true 2>&1)
	like "$err" "link: (Too many levels|Permission denied)" "$who: nor where a symbolic link leads"
	err=$(hooked $who "open=$TMP/share,try=$TMP/share/../err" true 2>&1)
	like "$err" "err: (Invalid cross-device link|Permission denied)" "$who: nor outside of the directory"

	got=$(hooked $who 'exec=while read id ip rest; do echo $id pass; done' curl -s http://$TO:8000/echo 2>"$TMP/err")
	is "$got" "one needle" "$who: a program is asked, and lets a flow pass"
	hooked $who 'exec=while read id ip rest; do echo $id block; done' curl -s http://$TO:8000/echo >/dev/null 2>&1
	is $? 7 "$who: or refuses it"
	err=$(hooked $who 'exec=exec sleep 0.05' sleep 1 2>&1)
	n=$(grep -c "the program runs" <<<"$err")
	ok $((n < 3 || n > 6)) "$who: one that ends is started again, with growing pauses ($n times in a second)"
	hooked $who 'exec=exec sleep 987.6' true >/dev/null 2>&1
	pgrep -f 'sleep 987[.]6' >/dev/null
	is $? 1 "$who: and ends with weir"
	got=$(hooked $who 'exec=id -u >&2; grep CapEff /proc/self/status >&2; ls /proc/self/fd | wc -l >&2; cat' sleep 0.3 2>&1)
	like "$got" "CapEff:.0000000000000000" "$who: it has no capabilities"
	is "$(grep -cE '^(2001|65534|4)$' <<<"$got")" 2 "$who: is the worker's user, and has no descriptor of weir's"

	err=$(as $who "$WEIR" run -v --hook "$TMP/calls.so" -- true 2>&1)
	like "$err" "hook tool: the worker may also call sysinfo uname" "$who: system calls that a hook needs are said"
	err=$(as $who "$WEIR" run --hook "$TMP/evil.so" -- true 2>&1)
	like "$? $err" "^2 weir: hook tool: the system call 'execve' is one that no worker may make$" "$who: some are refused"
	err=$(as $who "$WEIR" run --hook "$TMP/unknown.so" -- true 2>&1)
	like "$? $err" "^2 weir: hook tool: there is no system call 'make_coffee'$" "$who: as are those that are none"

	err=$(as $who "$WEIR" run --hook "$TMP/tool.so=replace=x" -- true 2>&1)
	is "$? $err" "2 weir: --hook $TMP/tool.so=replace=x: replace: not OLD:NEW" "$who: a wrong key is a wrong option"
	err=$(as $who "$WEIR" run --hook "$TMP/none.so" -- true 2>&1)
	like "$? $err" "^2 weir: --hook $TMP/none.so: .*No such file" "$who: so is a file that is not there"
	err=$(as $who "$WEIR" run --hook "$TMP/server.py/x" -- true 2>&1)
	is $? 2 "$who: or no library"
done

as root "$WEIR" run -q --host-loopback $TO --log "$TMP/log" --hook "$TMP/tool.so=event=abc" -- curl -s -o /dev/null http://$TO:8000/echo
got=$(python3 - "$TMP/log" <<'EOF'
import json, sys
lines = {l["event_type"]: l for l in map(json.loads, open(sys.argv[1]))}
t, f = lines["tool"], lines["flow"]
print(t["tool"]["said"], t["flow_id"] == f["flow_id"], t["weir"]["owner"]["comm"], t["dest_port"], f["weir"]["tags"])
EOF
)
is "$got" "abc True curl 8000 ['abc']" "a hook's records and tags are in the log"

err=$(as root "$WEIR" run --publish 8099 --publish 8098 --hook "$TMP/tool.so=closed=8099" -- sleep 0.3 2>&1)
like "$err" "port 8099 is not served: a hook forbids it" "a hook forbids that somebody is let in"
is "$(grep -c "is not served" <<<"$err")" 1 "and only there"

# who gets a flow: by what is known of it, by its payload (the first bytes wait for it), and by rules
for scope in 'dst.port == 8000 and comm == curl:thread' 'dst.port == 8001:needle' 'http.path == "/echo":thread' \
	'http.path == "/other":needle'; do
	got=$(hooked user "replace=needle:thread,if=${scope%:*}" curl -s http://$TO:8000/echo 2>/dev/null)
	is "$got" "one ${scope##*:}" "if=${scope%:*}"
done
printf 'hook scissors if comm == curl and http.path == "/echo"\nallow\n' >"$TMP/rules"
rules() { as user "$WEIR" run -q --rules "$TMP/rules" --host-loopback $TO --hook "$TMP/tool.so=name=scissors,replace=needle:thread" -- "$@"; }
is "$(rules curl -s http://$TO:8000/echo)" "one thread" "a rule gives a flow to a hook"
is "$(rules python3 -c "import urllib.request as u; print(u.urlopen('http://$TO:8000/echo').read().decode(), end='')")" "one needle" \
	"and no other one"

# relative to where weir was started
got=$(cd "$TMP" && as user "$WEIR" run -q --host-loopback $TO --hook tool.so=replace=needle:thread -- curl -s http://$TO:8000/echo)
is "$got" "one thread" "a path is relative to where weir was started"

prefix root "$HOST"
"${PRE[@]}" "$WEIR" run -q --host-loopback $TO --hook "$TMP/tool.so=replace=needle:thread,name=scissors" --hook count -- \
	sh -c "curl -s http://$TO:8000/echo >/dev/null; sleep 3" &
run=$!
table() { "$WEIR" hooks --instance $run 2>/dev/null | grep -q '1 flows;'; }
wait_for 5 table
got=$("$WEIR" hooks --instance $run)
like "$got" "^scissors +1 " "weir hooks names them"
like "$(awk '$1 == "scissors" { print $8 }' <<<"$got")" "^1$" "counts their edits"
like "$got" "1 flows; up 1 chunks" "and has their report"
kill $run
wait $run 2>/dev/null

done_testing
