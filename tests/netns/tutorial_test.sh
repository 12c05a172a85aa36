#!/bin/bash
# SPDX-License-Identifier: MIT
# docs/TUTORIAL.md does what it says: each block of code is written to the file that it names, each
# command of a console block is run as it stands there, and what it prints must contain the lines
# that follow it ("..." stands for anything). Then what the text promises: a secret in two pieces.
#
#   $HOST: weir run -- curl  ---  $ROUTER  ---  $NET: files.example.net = 10.78.0.4
. "$(dirname "$0")/topology.sh"

TUTORIAL=$TOP/docs/TUTORIAL.md

# blocks: writes "LANGUAGE NAME" blocks to files, and console blocks, one behind the other, to `console`
blocks() {
	awk '
		/^```/ && !inside { inside = 1; name = $2 != "" ? $2 : $1 == "```console" ? "console" : "/dev/null"; next }
		/^```/ { inside = 0; next }
		inside { print >> name }' "$TUTORIAL"
}

# here COMMAND...: in the host's namespace, with files.example.net, weir and its header found
here() {
	in_host unshare -m --propagation private -- sh -c 'mount --bind hosts /etc/hosts && exec "$@"' sh \
		env PATH="$TMP/bin:$PATH" CPATH="$TOP/include" timeout -k 5 60 "$@"
}

# expected FILE LINES: each line is in the file
expected() {
	local line pattern missing=
	while IFS= read -r line; do
		pattern=$(sed 's/[][\.*^$(){}?+|/]/\\&/g; s/\\\.\\\.\\\./.*/g' <<<"$line")
		grep -Eqx -- "$pattern" "$1" || missing+="missing: $line"$'\n'
	done <<<"$2"
	[ -z "$missing" ] || { echo "$missing"; echo "printed:"; cat "$1"; return 1; }
}

run_command() { # COMMAND LINES
	if [ -n "$2" ]; then
		here bash -c "$1" >out 2>&1 </dev/null
		check "$1" expected out "$2"
	else
		check "$1" here bash -c "$1"
	fi
}

topology_up
need_weir
command -v curl >/dev/null || skip_all "needs curl"
chmod 755 "$TMP"
cd "$TMP" || exit 1
mkdir bin
ln -s "$WEIR" bin/weir
ln -s /usr/bin/python3 bin/python3 # not one in a home directory, which weir's worker may not enter
echo "$EXTRA4 files.example.net" >hosts
cat >server.py <<'PY'
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        n = len(self.rfile.read(int(self.headers["Content-Length"])))
        body = b"took %d bytes\n" % n
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer((sys.argv[1], 80), Answer)
print("ready", flush=True)
server.serve_forever()
PY
# parts PIECE...: a body in pieces, 0.2 s apart; prints the answer, or how it ended
cat >parts.py <<'PY'
import socket, sys, time
pieces = [p.encode() for p in sys.argv[1:]]
s = socket.create_connection(("files.example.net", 80))
s.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % sum(map(len, pieces)))
try:
    for piece in pieces:
        s.sendall(piece)
        time.sleep(0.2)
    print(s.makefile().read().splitlines()[-1])
except OSError as e:
    print(e.strerror)
PY
start_ready server.log in_net python3 server.py $EXTRA4
blocks
for f in keys.lua keys.c keys.py keys.sh console; do
	[ -s "$f" ] || { echo "Bail out! $TUTORIAL has no block $f"; exit 1; }
done
chmod 644 keys.*

# --- as it stands there ----------------------------------------------------------------------------

n=0
command=
lines=
while IFS= read -r line; do
	case $line in
	'$ '*)
		[ -z "$command" ] || run_command "$command" "${lines%$'\n'}"
		command=${line#??}
		lines=
		n=$((n + 1))
		;;
	*) lines+=$line$'\n' ;;
	esac
done <console
run_command "$command" "${lines%$'\n'}"
check "there are commands of each kind" test $n -ge 9

# --- what the text promises --------------------------------------------------------------------------

for hook in lua=keys.lua ./keys.so "exec=python3 keys.py"; do
	is "$hook: a secret in two pieces" \
		"$(here weir run -q --hook "$hook" -- python3 parts.py 'a PRIV' 'ATE KEY' 2>/dev/null)" \
		"Connection reset by peer"
	is "$hook: what only begins like one passes" \
		"$(here weir run -q --hook "$hook" -- python3 parts.py 'a PRIV' 'ATE ROAD' 2>/dev/null)" \
		"took 14 bytes"
done
done_testing
