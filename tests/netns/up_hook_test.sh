#!/bin/bash
# SPDX-License-Identifier: MIT
# Hooks under `weir up`: a supervisor that may start nothing and is nearly powerless still has files opened and
# programs started for them, as the worker's user; both again for a new worker; and none is left behind.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/up.sh"
CC=${CC:-cc}

need_weir
need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
command -v "$CC" >/dev/null || skip_all "needs a C compiler"
topology_up
servers_up
counters_up
chmod 755 "$TMP"
mkdir -m 755 "$TMP/hooks"
mkdir -m 777 "$TMP/files"
"$CC" -std=gnu11 -D_GNU_SOURCE -shared -fPIC -O2 -Iinclude -o "$TMP/hooks/tool.so" tests/hooks/tool.c
is "a hook is built" $? 0

echo_as() { # UID FAMILY ADDR
	as "$1" timeout 20 "$B/tests/fidelity/probe" echo "$2" "$3" 7001 2>/dev/null
}
find_worker() {
	WORKER_PID=$(in_host "$WEIR" status --runtime-dir "$TMP/run" | grep -oE 'worker [0-9]+' | grep -oE '[0-9]+')
}
new_worker() { local was=$WORKER_PID; find_worker; [ -n "$WORKER_PID" ] && [ "$WORKER_PID" != "$was" ]; }
runs() { [ "$(grep -c "the program runs" "$TMP/up.err")" = "$1" ]; }
programs() { pgrep -cf "^sh -c grep -E .*$TMP/files/who"; }

# the program says who it is, and lets everything pass but what goes to PLAIN6
ask="grep -E '^(Uid|CapEff|Groups|NoNewPrivs)' /proc/self/status >$TMP/files/who; while read id ip rest; do
case \$ip in $PLAIN6) echo \$id block ;; *) echo \$id pass ;; esac; done"
up_start --user $ALICE --hook "$TMP/hooks/tool.so=exec=$ask" --hook "$TMP/hooks/tool.so=open=$TMP/files/flows,try=/etc/shadow"
find_worker
check "a program is started for a hook" wait_for 5 runs 1
like "it is asked, and lets flows pass" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
like "or refuses them" "$(echo_as $ALICE 6 $PLAIN6)" "REFUSED|RESET"
is "it is the worker's user, and has no rights" "$(tr -s '\t ' ' ' <"$TMP/files/who" | tr '\n' ' ')" \
	"Uid: $WORKER $WORKER $WORKER $WORKER Groups:  CapEff: 0000000000000000 NoNewPrivs: 1 "
like "a file is opened" "$(cat "$TMP/files/flows")" "^[0-9]+ $PLAIN4 .* probe$"
is "it belongs to the worker's user" "$(stat -c %u:%a "$TMP/files/flows")" "$WORKER:600"
like "what only root may read is not" "$(cat "$TMP/up.err")" "try /etc/shadow: Permission denied"

kill -9 "$WORKER_PID"
wait_for 10 new_worker
check "a new worker has a program, too" wait_for 5 runs 2
like "... and works" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
is "the old one has ended" "$(programs)" 1

kill -HUP $UP_PID
check "hooks are told of a reload" wait_for 5 grep -q "tool: reloaded" "$TMP/up.err"
up_stop
is "it ends in order" $? 0
is "nothing of a hook's is left" "$(programs)" 0
done_testing
