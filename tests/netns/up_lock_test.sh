#!/bin/bash
# SPDX-License-Identifier: MIT
# `weir up` with few rights: what its processes keep, that they still do all their work under it, and
# that the systemd unit's capabilities are enough.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/up.sh"

# NET_ADMIN 12, SYS_PTRACE 19, DAC_READ_SEARCH 2, SETUID 7, SETGID 6, KILL 5
SUPERVISOR_CAPS=00000000000810e4
WATCHER_CAPS=0000000000001020

proc() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status" 2>/dev/null; } # PID NAME

child() { # COMM: of the supervisor's
	local p
	for p in $(pgrep -P "${SUP:-0}"); do
		[ "$(cat "/proc/$p/comm")" = "$1" ] && echo "$p" && return
	done
	return 1
}

echo_as() { # UID FAMILY ADDR
	as "$1" timeout 20 "$B/tests/fidelity/probe" echo "$2" "$3" 7001 2>/dev/null
}

said() { sed 's/process [0-9]*/process N/' "$TMP/up.err"; }

find_processes() {
	SUP=$(in_host "$WEIR" status --runtime-dir "$TMP/run" | grep -oE 'process [0-9]+' | grep -oE '[0-9]+')
	WORKER_PID=$(in_host "$WEIR" status --runtime-dir "$TMP/run" | grep -oE 'worker [0-9]+' | grep -oE '[0-9]+')
}

rights() {
	is "the supervisor has the capabilities it needs, no other" "$(proc "$SUP" CapEff)" $SUPERVISOR_CAPS
	is "... permitted" "$(proc "$SUP" CapPrm)" $SUPERVISOR_CAPS
	is "... and ever to be had" "$(proc "$SUP" CapBnd)" $SUPERVISOR_CAPS
	is "... none is inherited" "$(proc "$SUP" CapInh)$(proc "$SUP" CapAmb)" "$(printf '0%.0s' {1..32})"
	is "no new privileges, a filter" "$(proc "$SUP" NoNewPrivs)$(proc "$SUP" Seccomp)" 12
	is "the watcher has two" "$(proc "$(child weir-watcher)" CapEff)" $WATCHER_CAPS
	is "the worker has none" "$(proc "$WORKER_PID" CapEff)$(proc "$WORKER_PID" CapPrm)" "$(printf '0%.0s' {1..32})"
	is "... nor root's name" "$(proc "$WORKER_PID" Uid | tr -s '\t' ' ')" "$WORKER $WORKER $WORKER $WORKER"
	check "... and two filters" test "$(proc "$WORKER_PID" Seccomp_filters)" -ge 2
}

new_worker() { local was=$WORKER_PID; find_processes; [ -n "$WORKER_PID" ] && [ "$WORKER_PID" != "$was" ]; }
new_watcher() { [ -n "$(child weir-watcher)" ] && [ "$(child weir-watcher)" != "$1" ]; }

all_its_work() {
	local was
	like "a selected user is served" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
	wait_for 5 test "$(logged "o.get('comm') == 'probe'")" -ge 1
	check "the owner of another user's socket is found" test "$(logged "o.get('comm') == 'probe'")" -ge 1

	kill -9 "$WORKER_PID"
	wait_for 10 new_worker # not by check, whose shell would keep the new pids
	is "another worker starts" $? 0
	like "... and serves" "$(echo_as $ALICE 6 $PLAIN6)" "40 of 40"
	is "... without capabilities" "$(proc "$WORKER_PID" CapEff)" 0000000000000000

	was=$(child weir-watcher)
	kill -9 "$was"
	check "another watcher starts" wait_for 10 new_watcher "$was"
	is "... with the same two capabilities" "$(proc "$(child weir-watcher)" CapEff)" $WATCHER_CAPS

	in_host ip rule del pref 1000
	in_host nft delete table inet weir_guard
	in_host ip route add blackhole 10.99.0.0/16
	sleep 0.5
	check "rules are put back" grep -q "^1000:" <(in_host ip rule)
	check "tables are put back" in_host nft list table inet weir_guard
	check "routes are followed" grep -q "10.99.0.0/16" <(in_host ip route show table 7771)
	in_host ip route del blackhole 10.99.0.0/16

	mv "$TMP/up.json" "$TMP/up.json.1"
	kill -HUP "$SUP"
	check "the log is opened anew at SIGHUP" wait_for 5 test -e "$TMP/up.json"
	like "... and written" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
	check "a record is in it" wait_for 5 test -s "$TMP/up.json"
	up_stop
	is "it ends in order" $? 0
	host_state >"$TMP/after"
	is "and undoes everything" "$(diff "$TMP/state" "$TMP/after")" ""
}

# exactly what the unit leaves a process: its bounding set, and no_new_privs
unit_caps() {
	local caps
	caps=$(sed -n 's/^CapabilityBoundingSet=//p' "$TOP/scripts/systemd/$1.service.in" | tr 'A-Z' 'a-z' |
		sed 's/cap_//g; s/^/+/; s/ /,+/g')
	echo "$caps"
}

unit_env() { echo "setpriv --bounding-set -all,$(unit_caps "$1") --inh-caps=-all --no-new-privs"; } # UNIT

as_unit() {
	UP_VIA=$(unit_env weir) up_start --user $ALICE || return
	is "nothing is done without for want of a capability" "$(said)" "$all_rights"
	find_processes
	all_its_work
}

UP="up --no-config --worker-user $WORKER --user $ALICE --quiet"

six_workers() {
	local i
	for i in 1 2 3 4 5 6 7; do
		kill -9 "$WORKER_PID" 2>/dev/null
		wait_for 2 new_worker || break
	done
}

# what gives up stays closed; so does what can't start where something was closed
gives_up() {
	up_start --user $ALICE || return
	find_processes
	six_workers
	wait $UP_PID
	is "weir gives up when its workers crash again and again" $? 126
	counters_zero
	as $ALICE timeout 2 "$B/tests/fidelity/probe" connect 4 $PLAIN4 7001 >/dev/null 2>&1
	is "... and nothing of a selected user gets out" "$(sent alice)" 0
	like "... which is said" "$(cat "$TMP/up.err")" "stay cut off"
	in_host ip link add weir0 type veth peer name weir1
	in_host timeout 20 "$WEIR" $UP --runtime-dir "$TMP/run" 2>"$TMP/up.err"
	is "a start that fails" $? 126
	as $ALICE timeout 2 "$B/tests/fidelity/probe" connect 4 $PLAIN4 7001 >/dev/null 2>&1
	is "... leaves closed what was" "$(sent alice)" 0
	check "weir down" up_down
	in_host timeout 20 "$WEIR" $UP --runtime-dir "$TMP/run" 2>"$TMP/up.err"
	is "a start that fails where nothing was closed" $? 126
	in_host ip link del weir0
	host_state >"$TMP/after"
	is "... leaves nothing" "$(diff "$TMP/state" "$TMP/after")" ""
}

# systemd ends all processes of a unit whose main one was killed, the watcher too, and runs ExecStopPost
after_crash() {
	UP_VIA=$(unit_env weir) up_start --user $ALICE || return
	find_processes
	check "down --after-crash leaves one that runs alone" \
		in_host "$WEIR" down --after-crash --runtime-dir "$TMP/run"
	like "... indeed" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
	kill -STOP "$(child weir-watcher)"
	kill -9 "$(child weir-watcher)" "$SUP" "$WORKER_PID"
	wait $UP_PID 2>/dev/null
	check "down --after-crash with the unit's capabilities" \
		in_host $(unit_env weir) "$WEIR" down --after-crash --runtime-dir "$TMP/run"
	counters_zero
	as $ALICE timeout 2 "$B/tests/fidelity/probe" connect 4 $PLAIN4 7001 >/dev/null 2>&1
	is "... leaves the guard: nothing of a selected user gets out" "$(sent alice)" 0
	check "... leaves the guard's rules" grep -q "^1021:" <(in_host ip rule)
	is "... and undoes the rest" "$(in_host ip rule | grep -c "^1000:")$(in_host sysctl -n net.ipv4.fwmark_reflect)" 00
	check "weir down" up_down
	host_state >"$TMP/after"
	is "... undoes it" "$(diff "$TMP/state" "$TMP/after")" ""
}

lockdown_as_unit() {
	check "--lockdown with the unit's capabilities" in_host $(unit_env weir-lockdown) "$WEIR" $UP --runtime-dir "$TMP/run" --lockdown
	counters_zero
	as $ALICE timeout 2 "$B/tests/fidelity/probe" connect 4 $PLAIN4 7001 >/dev/null 2>&1
	is "nothing of a selected user gets out" "$(sent alice)" 0
	like "others go on" "$(echo_as $CAROL 4 $PLAIN4)" "40 of 40"
	check "weir down with them" in_host $(unit_env weir-lockdown) "$WEIR" down --runtime-dir "$TMP/run"
	host_state >"$TMP/after"
	is "... undoes it" "$(diff "$TMP/state" "$TMP/after")" ""
}

need_weir
need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
command -v setpriv >/dev/null || skip_all "needs setpriv"
topology_up
servers_up
counters_up
mkdir -p "$TMP/run" && chmod 755 "$TMP"
host_state >"$TMP/state"
up_start --user $ALICE && {
	all_rights=$(said)
	find_processes
	rights
	all_its_work
}
as_unit
gives_up
after_crash
lockdown_as_unit
done_testing
