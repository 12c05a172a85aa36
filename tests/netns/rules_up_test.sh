#!/bin/bash
# SPDX-License-Identifier: MIT
# Rules of a whole host: weir up --rules, its reload, and who may do what over the control socket.
# topology.sh: drawing; up.sh: users; rules.sh: servers.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/up.sh"
. "$(dirname "$0")/rules.sh"

reach() { # UID PORT: what bash says of a connection
	as "$1" timeout 5 bash -c "exec 3<>/dev/tcp/$EXTRA4/$2" 2>&1 | grep -oE 'refused|reset' | head -1
}
asked() { # UID REQUEST...: by a user of this host, of the instance in $TMP/run
	local uid=$1
	shift
	as "$uid" python3 - "$TMP/run/control.sock" "$*" <<-'PY'
	import socket, sys
	s = socket.socket(socket.AF_UNIX)
	s.connect(sys.argv[1])
	s.sendall(sys.argv[2].encode() + b"\n")
	while d := s.recv(65536): sys.stdout.write(d.decode())
	PY
}

need_weir
topology_up
rules_servers
chmod 755 "$TMP"
PYTHON=$(readlink -f "$(command -v python3)")
as $ALICE "$PYTHON" -c '' 2>/dev/null || PATH=/usr/bin:$PATH

rules host <<-EOF
block if user == $ALICE and dst.port == 7001
allow
EOF
up_start --user $ALICE --user $BOB --rules "$TMP/host.rules"
is "a rule for a user" "$(reach $ALICE 7001) $(reach $BOB 7001) $(reach $CAROL 7001)" "refused  "
is "... which the network has not seen" "$(syns 7001)" 2
as $BOB bash -c "exec 3<>/dev/tcp/$EXTRA4/8000; sleep 30" &
BG+=($!)
wait_for 5 eval '[ "$(asked 0 flows dst.port == 8000 | wc -l)" = 1 ]'
is "root sees flows" "$(asked 0 'flows dst.port == 8000' | wc -l)" 1
if as $ALICE python3 -c '' 2>/dev/null; then
	is "... a user those of their own" "$(asked $BOB 'flows dst.port == 8000' | wc -l) $(asked $ALICE 'flows dst.port == 8000' | wc -l)" "1 0"
	for request in "kill dst.port == 8000" "decide 1 allow once 0 0" "reload" "rules" "forget 1"; do
		like "a user may not: $request" "$(asked $BOB "$request")" "^error: only root"
	done
else
	skip "what users may do" "they can't run this python3"
fi

printf 'block if nonsense\n' >"$TMP/host.rules"
like "a reload with an error: the answer" "$(asked 0 reload)" "^error: nothing is changed: .*host.rules:1:"
kill -HUP $UP_PID
wait_for 5 grep -q 'nothing is changed by the reload: .*host.rules:1:' "$TMP/up.err"
check "... by SIGHUP, too" grep -q 'nothing is changed by the reload: .*host.rules:1:' "$TMP/up.err"
is "... nothing has changed" "$(reach $ALICE 7001)" refused
rules host <<-EOF
block if user == $BOB and dst.port in {7001, 8000}
EOF
kill -HUP $UP_PID
wait_for 5 grep -q 'ended by .*host.rules:1: ' "$TMP/up.err"
check "SIGHUP: what is open and not allowed any more ends" grep -qE 'ended by .*host.rules:1: .*:8000' "$TMP/up.err"
is "... and other rules are in force" "$(reach $ALICE 7001) $(reach $BOB 7001)" " refused"
up_stop
is "the log names the rules" "$(logged 'e["weir"].get("rule", "").endswith("host.rules:1") and e["weir"]["verdict"] == "block"')" \
	"$(logged 'e["weir"]["verdict"] == "block"')"
done_testing
