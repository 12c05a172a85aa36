#!/bin/bash
# SPDX-License-Identifier: MIT
# Scripts and processors under `weir up`: a script that is read again although the worker may open
# nothing, a program, and a service's socket that only the worker's user may use.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/up.sh"

need_weir
need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
topology_up
servers_up
counters_up
chmod 755 "$TMP"
mkdir -m 755 "$TMP/hooks" "$TMP/service"

echo_as() { # UID FAMILY ADDR
	as "$1" timeout 20 "$B/tests/fidelity/probe" echo "$2" "$3" 7001 2>/dev/null
}
blocks() { # ADDRESS: the script that does so
	echo "function flow_open(flow) if flow.net.ip == '$1' then return 'block' end end" >"$TMP/hooks/s.lua"
}
refused() { [[ $(echo_as $ALICE "$1" "$2") =~ REFUSED|RESET ]]; }

# lets everything pass but what another user than ALICE says, and notes the names of programs
cat >"$TMP/hooks/p.py" <<'PY'
import json, sys
for line in sys.stdin:
    e = json.loads(line)
    if "id" in e:
        good = e["owner"]["uid"] == int(sys.argv[1])
        print(json.dumps({"id": e["id"], "verdict": "pass" if good else "block", "tag": e["owner"]["comm"]}), flush=True)
PY
cat >"$TMP/hooks/service.py" <<'PY'
import os, socket, subprocess, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
os.chown(sys.argv[1], int(sys.argv[2]), 0)
os.chmod(sys.argv[1], 0o600)
s.listen()
print("ready", flush=True)
while True:
    c, _ = s.accept()
    open(sys.argv[1] + ".connected", "w").close()
    subprocess.Popen(["/usr/bin/python3", os.path.dirname(__file__) + "/p.py", sys.argv[3]], stdin=c, stdout=c)
    c.close()
PY
start_ready "$TMP/service.log" in_host python3 "$TMP/hooks/service.py" "$TMP/service/sock" "$WORKER" "$ALICE"
blocks $PLAIN6
up_start --user $ALICE --hook "lua=$TMP/hooks/s.lua" --hook "exec=/usr/bin/python3 $TMP/hooks/p.py $ALICE,wants=open" \
	--hook "socket=$TMP/service/sock,wants=open"
check "a service is connected to, as the worker's user" wait_for 5 test -e "$TMP/service/sock.connected"
like "script, program and service let a flow pass" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
check "the script refuses another" refused 6 $PLAIN6
blocks $PLAIN4
kill -HUP $UP_PID
check "it is read again" wait_for 5 refused 4 $PLAIN4
like "... all of it" "$(echo_as $ALICE 6 $PLAIN6)" "40 of 40"
is "... by the same worker" "$(grep -c 'starting another' "$TMP/up.err")" 0
up_stop
is "it ends in order" $? 0
done_testing
