#!/bin/bash
# SPDX-License-Identifier: MIT
# Inspectors in Lua, Python and shell in real flows: they answer, replace, block by owner, fail, are
# killed, are slow, and are read again.
#
#   +-- $HOST ------------------------------------------------------------------+
#   |  weir run --host-loopback 10.9.9.9 -- client                              |
#   |  server.py on 127.0.0.1:8000 and :8001 (HTTP) and :8002 (UDP)             |
#   +---------------------------------------------------------------------------+
#
# server.py notes each request in $TMP/requests. /big is 4 MiB with a word in it that is replaced,
# written in pieces of odd sizes.
. "$(dirname "$0")/lib.sh"
command -v curl >/dev/null || skip_all "needs curl"
HOST=weir-sc-$$
netns_new "$HOST"
in_ns "$HOST" ip link set lo up
TO=10.9.9.9
export XDG_RUNTIME_DIR=$TMP/xdg # so that `weir reload` finds one instance, ours
mkdir -m 700 "$XDG_RUNTIME_DIR"

cat >"$TMP/server.py" <<'PY'
import hashlib, http.server, random, socket, sys, threading
random.seed(11)
body = b"".join(random.randbytes(random.randrange(1, 9000)).hex().encode() + b"needle" for _ in range(500))
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        open(sys.argv[1] + "/requests", "a").write(self.path + "\n")
        data = body if self.path == "/big" else b"one needle\n"
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        while data:
            n = random.randrange(1, 70000)
            self.wfile.write(data[:n])
            data = data[n:]
    def log_message(self, *args):
        pass
    def handle(self):
        try:
            super().handle()
        except OSError: # flows that are refused are reset
            pass
open(sys.argv[1] + "/want", "w").write(hashlib.sha256(body.replace(b"needle", b"a longer thing")).hexdigest())
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", 8002))
def udp():
    while True:
        data, who = u.recvfrom(2000)
        u.sendto(b"a needle for " + data, who)
threading.Thread(target=udp, daemon=True).start()
for port in 8001, 8000:
    s = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer)
    threading.Thread(target=s.serve_forever, daemon=True).start()
threading.Event().wait()
PY
cat >"$TMP/udp.py" <<PY
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
s.sendto(b"me", ("$TO", 8002))
try:
    print(s.recv(2000).decode())
except OSError as e:
    print(e)
PY
in_ns "$HOST" python3 "$TMP/server.py" "$TMP" &
server=$!
extra=
trap 'kill $server $extra 2>/dev/null; wait $server $extra 2>/dev/null; cleanup' EXIT
up() { in_ns "$HOST" curl -s -o /dev/null http://127.0.0.1:8000/; }
wait_for 10 up

# hooked HOOK COMMAND...: what COMMAND prints, and then its status; weir's own lines go to $TMP/err
hooked() {
	local hook=$1
	shift
	run root --host-loopback $TO --hook "$hook" -- timeout 20 "$@" 2>"$TMP/err"
	echo "status $?"
}
get() { hooked "$1" curl -s -S -m 15 "http://$TO:${3:-8000}$2"; } # HOOK PATH [PORT]
requests() { grep -c "^$1\$" "$TMP/requests"; }
script() { cat >"$TMP/$1" && chmod 644 "$TMP/$1"; } # NAME, from standard input

# --- Lua -----------------------------------------------------------------------------------------

script answer.lua <<'LUA'
function payload(flow, dir, data)
	if dir == "up" and data:find("\r\n\r\n", 1, true) then
		flow:inject("down", "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n")
		flow:close()
		return "drop"
	elseif dir == "up" then
		return "hold"
	end
end
LUA
is "$(get "lua=$TMP/answer.lua" /answered)" $'no\nstatus 0' "a script answers a request itself"
is "$(requests /answered)" 0 "... and the server never sees it"

script replace.lua <<'LUA'
local kept = 0
function payload(flow, dir, data, last)
	if dir == "up" then
		return
	end
	local from = 1
	while true do
		local i, j = data:find("needle", from, true)
		if not i then break end
		flow:replace(i, j, "a longer thing")
		from = j + 1
	end
	return last and #data or math.max(from - 1, #data - 5)
end
function datagram(flow, dir, data)
	return "replace", data:gsub("needle", dir)
end
LUA
is "$(hooked "lua=$TMP/replace.lua" sh -c "curl -s http://$TO:8000/big | sha256sum")" \
	"$(cat "$TMP/want")  -"$'\n'"status 0" "a script replaces a word, wherever the pieces end"
is "$(hooked "lua=$TMP/replace.lua" python3 "$TMP/udp.py")" $'a down for me\nstatus 0' "... and in datagrams"

script owner.lua <<'LUA'
function flow_open(flow)
	for _, parent in ipairs(flow.owner.parents) do
		if parent.comm == "forbidden" then
			return "block"
		end
	end
	return flow.owner.comm == weir.config.who and "block" or "pass"
end
LUA
cp "$(command -v curl)" "$TMP/otherurl"
cp "$(command -v sh)" "$TMP/forbidden"
like "$(get "lua=$TMP/owner.lua,who=curl" /)" 'status 7' "a script blocks by program"
is "$(hooked "lua=$TMP/owner.lua,who=curl" "$TMP/otherurl" -s http://$TO:8000/)" $'one needle\nstatus 0' \
	"... that one, and no other"
like "$(hooked "lua=$TMP/owner.lua,who=nobody" "$TMP/forbidden" -c "curl -s http://$TO:8000/; exit \$?")" \
	'status 7' "... and by ancestor"

script broken.lua <<'LUA'
function payload(flow, dir, data)
	if data:find("GET /loop", 1, true) then
		while true do end
	elseif data:find("GET /error", 1, true) then
		local x = nil + 1
	elseif data:find("GET /bomb", 1, true) then
		local s = ("x"):rep(1 << 20) while true do s = s .. s end
	elseif data:find("GET /backtrack", 1, true) then
		data:rep(5000):find(".-.-.-.-\0")
	end
end
LUA
for path in /loop /error /bomb /backtrack; do
	like "$(get "lua=$TMP/broken.lua" $path)" 'status (52|56)' "$path: the flow ends"
	like "$(cat "$TMP/err")" "broken.lua:[0-9]+: (timeout|attempt|not enough memory)" "... and the log names the line"
	is "$(get "lua=$TMP/broken.lua,on-error=pass" $path)" $'one needle\nstatus 0' "... or goes on, with on-error=pass"
done
is "$(hooked "lua=$TMP/broken.lua" sh -c "curl -s http://$TO:8000/loop & curl -s http://$TO:8000/; wait")" \
	$'one needle\nstatus 0' "another flow goes on beside"
script wrong.lua <<<'function payload( end'
is "$(get "lua=$TMP/wrong.lua" /)" 'status 2' "a script that does not compile is refused"
like "$(cat "$TMP/err")" 'wrong.lua:1: ' "... with the line"

# A locked worker is killed by a system call that it may not make: whatever a script has, it may use.
script all.lua <<'LUA'
function datagram(flow, dir, data)
	local t = {3, 1, 2}
	table.sort(t)
	local date = os.date("%Y-%m-%d", 86400) .. os.date("%c"):sub(1, 0)
	assert(os.time() > 0 and os.clock() >= 0 and math.random() < 1 and utf8.len("x") == 1 and weir.now() > 0)
	local co = coroutine.wrap(function() coroutine.yield(table.concat(t)) end)
	flow:tag("seen")
	assert(flow:event("script", {dir = dir, list = t}))
	flow.state.text = string.format("%s %s", date, co())
	weir.timer(50, function() flow:resume(dir) end)
	if not flow.state[dir] then
		flow.state[dir] = true
		return "pend"
	end
	return "replace", flow.state.text
end
LUA
is "$(hooked "lua=$TMP/all.lua" python3 "$TMP/udp.py"; cat "$TMP/err")" $'1970-01-02 123\nstatus 0' \
	"a script may use all that it has"

# --- read again ------------------------------------------------------------------------------------

script again.lua <<<'function datagram(flow, dir, data) return "replace", data:gsub("needle", "first") end'
cat >"$TMP/twice.sh" <<SH
python3 $TMP/udp.py
echo 'local word = require "word" function datagram(flow, dir, data) return "replace", data:gsub("needle", word) end' >$TMP/again.lua
echo 'return "second"' >$TMP/word.lua
touch $TMP/go
while [ -e $TMP/go ]; do sleep 0.1; done
python3 $TMP/udp.py
SH
hooked "lua=$TMP/again.lua" sh "$TMP/twice.sh" >"$TMP/out" &
wait_for 20 test -e "$TMP/go"
in_ns "$HOST" "$WEIR" reload >/dev/null
sleep 0.5 # the files are read in later turns

rm -f "$TMP/go"
wait $!
is "$(cat "$TMP/out")" $'a first for me\na second for me\nstatus 0' "weir reload reads the script again, and a new module"
is "$(cat "$TMP/err")" "" "... in the worker that there was"

# --- processors --------------------------------------------------------------------------------------

script proc.py <<'PY'
import json, os, sys, time
log = open(sys.argv[1], "a", buffering=1)
for line in sys.stdin.buffer:
    e = json.loads(line)
    data = sys.stdin.buffer.read(e.get("len", 0))
    log.write("%d %s\n" % (os.getpid(), e["event"]))
    a = {"id": e.get("id"), "verdict": "pass"}
    if b"GET /secret" in data:
        a["verdict"] = "block"
    elif b"GET /slow" in data:
        time.sleep(1.5)
    elif b"GET /never" in data:
        continue
    elif b"GET /garbage" in data:
        print("garbage", flush=True)
        continue
    elif e["event"] == "payload" and e["dir"] == "down" or e["event"] == "datagram":
        edits, at = [], data.find(b"needle")
        while at >= 0:
            edits.append([at, 6, "a longer thing"])
            at = data.find(b"needle", at + 6)
        a["replace"] = edits
        keep = next((n for n in range(5, 0, -1) if data.endswith(b"needle"[:n])), 0)
        if keep and not e.get("last", True):
            a["accept"] = len(data) - keep
    if "id" in e:
        sys.stdout.write(json.dumps(a) + "\n")
        sys.stdout.flush()
PY
mkdir -m 777 "$TMP/log"
PROC="exec=/usr/bin/python3 $TMP/proc.py $TMP/log"
is "$(get "$PROC/a" /)" $'one a longer thing\nstatus 0' "a processor in Python replaces"
is "$(hooked "$PROC/b" sh -c "curl -s http://$TO:8000/big | sha256sum")" \
	"$(cat "$TMP/want")  -"$'\n'"status 0" "... wherever the pieces end"
like "$(get "$PROC/c" /secret)" 'status (52|56)' "... blocks"
is "$(requests /secret)" 0 "... before the server sees it"
is "$(hooked "$PROC/d" python3 "$TMP/udp.py")" $'a a longer thing for me\nstatus 0' "... and sees datagrams"
is "$(hooked "$PROC/e,format=json,timeout=1s" sh -c "curl -s http://$TO:8000/never; echo \$?")" \
	$'56\nstatus 0' "an answer that does not come ends the flow"
is "$(hooked "$PROC/f,timeout=1s,on-error=pass" curl -s http://$TO:8000/never)" \
	$'one needle\nstatus 0' "... or lets it pass"
like "$(get "$PROC/g" /garbage)" 'status (52|56)' "one that is none ends the connection"
like "$(cat "$TMP/err")" 'the processor: its line is wrong: not a JSON object' "... and is said"

script shell.sh <<'SH'
while read -r line; do
	case $line in '{"id":'*) ;; *) continue ;; esac
	id=${line#*:} id=${id%%,*}
	case $line in
	*'"event":"payload"'*'GET /secret'*) echo "{\"id\":$id,\"verdict\":\"block\"}" ;;
	*'"event":"payload"'*'GET /own'*)
		printf '{"id":%s,"verdict":"drop","inject":[["down","%s"]],"close":["up","down"]}\n' \
			"$id" 'HTTP/1.0 200 OK\r\n\r\nshell\n'
		;;
	*) echo "{\"id\":$id,\"verdict\":\"pass\"}" ;;
	esac
done
SH
SHELL_PROC="exec=/bin/sh $TMP/shell.sh,format=json"
like "$(get "$SHELL_PROC" /secret)" 'status (52|56)' "a processor in shell blocks"
is "$(get "$SHELL_PROC" /own)" $'shell\nstatus 0' "... and answers in the server's place"
is "$(get "$SHELL_PROC" /)" $'one needle\nstatus 0' "... and lets pass"

# One that is killed: its successor takes over; what it was asked has failed.
cat >"$TMP/killed.sh" <<SH
curl -s http://$TO:8000/
kill -9 \$(head -n 1 $TMP/log/k | cut -d' ' -f1)
sleep 1
curl -s http://$TO:8000/
SH
is "$(hooked "$PROC/k" sh "$TMP/killed.sh")" $'one a longer thing\none a longer thing\nstatus 0' \
	"a processor that is killed is started again"
is "$(cut -d' ' -f1 "$TMP/log/k" | sort -u | wc -l)" 2 "... as another process"
like "$(cat "$TMP/err")" 'hook exec: the processor: it has ended' "... which is said"
cat >"$TMP/dies.sh" <<SH
curl -s http://$TO:8000/slow & sleep 0.7
kill -9 \$(head -n 1 $TMP/log/$1 | cut -d' ' -f1)
wait \$!; echo \$?
SH
sed -i "s|log/ |log/m |" "$TMP/dies.sh"
is "$(hooked "$PROC/m" sh "$TMP/dies.sh")" $'56\nstatus 0' "what it was asked then has failed"

# A slow one holds its flows, and only those.
cat >"$TMP/slow.sh" <<SH
curl -s -o /dev/null -w 'slow %{time_total}\n' http://$TO:8000/slow &
sleep 0.3
curl -s -o /dev/null -w 'other %{time_total}\n' http://$TO:8001/
wait
SH
out=$(hooked "$PROC/s,if=dst.port == 8000" sh "$TMP/slow.sh")
like "$out" '^slow (1\.[5-9]|[2-9])' "a slow processor holds the flow"
like "$out" '^other 0\.[0-3]' "... and others go on meanwhile"

# A service behind a socket, which goes away and comes back.
cat >"$TMP/service.py" <<PY
import os, socket, subprocess, sys
s = socket.socket(socket.AF_UNIX)
s.bind("$TMP/share/service.sock")
os.chmod("$TMP/share/service.sock", 0o666)
s.listen()
while True:
    c, _ = s.accept()
    subprocess.Popen([sys.executable, "$TMP/proc.py", "$TMP/log/z"], stdin=c, stdout=c, preexec_fn=os.setsid)
    c.close()
PY
SERVICE="socket=$TMP/share/service.sock"
like "$(get "$SERVICE" /)" 'status 7' "without its service a flow is refused"
like "$(cat "$TMP/err")" 'service.sock: No such file or directory' "... and the reason is said"
python3 "$TMP/service.py" &
extra=$!
wait_for 10 test -S "$TMP/share/service.sock"
is "$(get "$SERVICE" /)" $'one a longer thing\nstatus 0' "a service behind a socket"
cat >"$TMP/comes_back.sh" <<SH
curl -s http://$TO:8000/
kill -9 \$(tail -n 1 $TMP/log/z | cut -d' ' -f1)
sleep 1
curl -s http://$TO:8000/
SH
is "$(hooked "$SERVICE" sh "$TMP/comes_back.sh")" $'one a longer thing\none a longer thing\nstatus 0' \
	"... is connected to again"
done_testing
