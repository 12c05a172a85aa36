#!/bin/bash
# SPDX-License-Identifier: MIT
#
# `weir flows`: what a running instance answers, to whom, and what stays behind.
#
#   host namespace: lo, and an address without a peer        made by weir
#   | up0 10.89.0.2/24, default via 10.89.0.1 |  <--  weir0  | a client that connects to
#   | server on lo:7777                       |              | --host-loopback 10.99.0.1 |
. "$(dirname "$0")/lib.sh"

HOST=weirc-$$
netns_new "$HOST" || skip_all "no network namespaces here"
host() { in_ns "$HOST" "$@"; }
host ip link set lo up
host ip link add up0 type veth peer name up1
host ip link set up0 up
host ip link set up1 up
host ip addr add 10.89.0.2/24 dev up0
host ip route add default via 10.89.0.1 dev up0

export XDG_RUNTIME_DIR=$TMP/run
mkdir -m 700 "$XDG_RUNTIME_DIR"

cat >"$TMP/serve.py" <<'PY'
import socket, sys
s = socket.create_server(("127.0.0.1", 7777))
conns = []
while True:
    c, _ = s.accept()
    c.sendall(b"hello")
    conns.append(c)
PY
cat >"$TMP/client.py" <<'PY'
import socket, time
s = socket.create_connection(("10.99.0.1", 7777))
s.recv(5)
time.sleep(60)
PY
host python3 "$TMP/serve.py" &
SERVER=$!
served() { host bash -c 'exec 3<>/dev/tcp/127.0.0.1/7777'; }
wait_for 10 served || ok 1 "server is up"

nothing=$("$WEIR" flows 2>&1)
is $? 1 "no instance: status 1"
like "$nothing" "no instance" "no instance: said"

host "$WEIR" run -q --host-loopback 10.99.0.1 -- python3 "$TMP/client.py" &
shown() { [ "$("$WEIR" flows 2>/dev/null | grep -c '"state":"established"')" = 1 ]; }
wait_for 20 shown
ok $? "the only instance is found, its flow is shown"
line=$("$WEIR" flows | head -1)
is "$(python3 -c '
import json, sys
f = json.loads(sys.argv[1])
print(f["dest_ip"], f["dest_port"], f["flow"]["bytes_toclient"], f["weir"]["owner"]["cmdline"].split("/")[-1])
' "$line")" "10.99.0.1 7777 5 client.py" "destination, bytes and owner are right"

SOCK=$(ls "$XDG_RUNTIME_DIR"/weir/*.sock)
PID=$(basename "$SOCK" .sock)
is "$(stat -c %a "$SOCK") $(stat -c %a "$XDG_RUNTIME_DIR/weir")" "600 700" "modes of socket and directory"
is "$("$WEIR" flows --instance "$PID" | wc -l)" 1 "--instance names it"
"$WEIR" flows --instance 999999999 2>/dev/null
is $? 1 "--instance of nobody: status 1"
"$WEIR" flows --instance "${PID}abc" 2>/dev/null
is $? 2 "--instance of no number: status 2"
is "$("$WEIR" flows --instance="$PID" | wc -l)" 1 "--instance=PID is the same"
chmod 755 "$TMP" "$XDG_RUNTIME_DIR" "$XDG_RUNTIME_DIR/weir"
chmod 666 "$SOCK"
is "$(setpriv --reuid 2001 --regid 2001 --clear-groups "$WEIR" flows --instance "$PID" 2>/dev/null | wc -l)" \
	0 "another user gets nothing, even through an open socket"

kill -9 "$PID"
gone() { [ ! -e "$SOCK" ]; }
wait_for 10 gone
ok $? "kill -9 of the supervisor: the socket goes too"
kill "$SERVER"
done_testing
