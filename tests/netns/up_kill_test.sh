#!/bin/bash
# SPDX-License-Identifier: MIT
# kill -9 of any process of `weir up`, at random moments: after it exactly the guard is left of a
# fail-closed selection and nothing of a fail-open one; after `weir down` nothing of both.
#
# KILLS=N: how many of each (25). SEED=N repeats a run's choices. A user who is selected tries to
# get past all the time, plainly and by a socket bound to the device.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/up.sh"

KILLS=${KILLS:-25}
SEED=${SEED:-$$}
RANDOM=$SEED

# state of the host: all that weir changes, as lines; what counts and what comes and goes by itself is not it
snapshot() {
	in_host sh -c '
		ip rule; ip -6 rule
		ip route show table all; ip -6 route show table all | sed "s/ expires [0-9]*sec//"
		ip -o link | sed "s/^[0-9]*: //; s/ qlen [0-9]*//"
		nft -s list ruleset 2>/dev/null | sed "/^table inet count/,/^}/d"
		cd /proc/sys/net
		grep . ipv4/fwmark_reflect ipv6/fwmark_reflect ipv4/conf/*/rp_filter ipv4/conf/*/accept_local \
			ipv4/conf/*/forwarding ipv4/conf/*/src_valid_mark ipv6/conf/*/forwarding' 2>/dev/null
}

programs_left() { in_host "$B/tests/lib/bpf_left"; }
no_programs() { [ "$(programs_left)" = 0 ]; }

child() { # COMM: of the supervisor's; nothing when there is none
	local p
	for p in $(pgrep -P $UP_PID); do
		[ "$(cat "/proc/$p/comm" 2>/dev/null)" = "$1" ] && echo "$p" && return
	done
	return 1
}

up_in_background() { # MORE-OPTIONS
	nsenter --net=/run/netns/$HOST "$WEIR" up --no-config --runtime-dir "$TMP/run" --worker-user $WORKER \
		--quiet --user $ALICE "$@" 2>"$TMP/up.err" &
	UP_PID=$!
	disown $UP_PID
}

ready() { in_host "$WEIR" status --runtime-dir "$TMP/run" 2>/dev/null | grep -q running; }
# gone PID...: these as well: one that is on its way out has no command line any more
gone() { ! pgrep -f "runtime-dir $TMP/run" >/dev/null && ! kill -0 "$@" 2>/dev/null; }
another() { local now; now=$(child "$1") && [ "$now" != "$2" ] && ready; }

bad() { # WHAT: of this kill
	BAD=$((BAD + 1))
	echo "# kill $KILL of $MODE ($VICTIM, ${MOMENT}): $1"
}

# end_supervisor: and wait for what is left of it
end_supervisor() {
	kill -9 "$@" $UP_PID 2>/dev/null
	wait_for 10 gone "$@" $UP_PID || bad "processes are left"
}

# one kill of one process lets weir go on, with another one
replaced() { # COMM
	local was
	was=$(child "$1") || return
	kill -9 "$was"
	[ "$MOMENT" = running ] || return 0
	wait_for 10 another "$1" "$was" || bad "no other $1"
	[ "$MODE" = fail-open ] || [ "$(sent alice)" = 0 ] || bad "a packet got past"
}

kill_some() {
	local other
	case $VICTIM in
	supervisor) end_supervisor ;;
	watcher) replaced weir-watcher; end_supervisor ;;
	worker) replaced weir-worker; end_supervisor ;;
	both)
		other=$(child weir-watcher)
		end_supervisor $other
		;;
	all)
		other=$(child weir-watcher)
		[ -z "$other" ] || kill -STOP "$other"
		end_supervisor $other $(child weir-worker)
		;;
	esac
	[ $VICTIM = supervisor ] && return
	# nobody was there to tidy up, which the unit's ExecStopPost would do
	in_host "$WEIR" down --after-crash --runtime-dir "$TMP/run" >/dev/null 2>&1
}

# what is left is $TMP/guard of one that ran, and a part of it, or all, of one that was starting
left_right() {
	snapshot >"$TMP/now"
	if [ "$MOMENT" = running ]; then
		diff "$TMP/guard" "$TMP/now" >"$TMP/diff" || bad "$(head -5 "$TMP/diff")"
	else
		diff "$TMP/clean" "$TMP/now" | grep '^[<>]' | sort >"$TMP/diff"
		[ -z "$(comm -23 "$TMP/diff" "$TMP/guard.more")" ] || bad "$(comm -23 "$TMP/diff" "$TMP/guard.more" | head -5)"
	fi
	[ "$MODE" = fail-open ] || [ "$MOMENT" = starting ] || [ "$(sent alice)" = 0 ] || bad "a packet got past"
}

nothing_left() {
	up_down >/dev/null 2>&1 || bad "weir down"
	snapshot >"$TMP/now"
	diff "$TMP/clean" "$TMP/now" >"$TMP/diff" || bad "after weir down: $(head -5 "$TMP/diff")"
	[ -z "$(ls "$TMP/run")" ] || bad "files: $(ls "$TMP/run")"
	wait_for 5 no_programs || bad "BPF programs: $(programs_left)"
}

one_kill() { # OPTIONS
	local all=(supervisor watcher worker both all)
	VICTIM=${all[RANDOM % 5]}
	MOMENT=running
	[ $((RANDOM % 2)) = 0 ] || MOMENT=starting
	up_in_background "$@"
	if [ $MOMENT = starting ]; then
		sleep 0.$(printf %03d $((RANDOM % 200)))
	elif ! wait_for 10 ready; then
		bad "no start: $(tail -3 "$TMP/up.err")"
	fi
	counters_zero
	kill_some
	left_right
	nothing_left
}

# the guard, as left by a supervisor's end, must be what it is called: nothing but these lines is new
is_guard() {
	diff "$TMP/clean" "$TMP/guard" | grep '^[<>]' |
		sed '/^> table inet weir_guard {/,/^> }$/d' |
		grep -vE '^> (10[0-9][0-9]:|unreachable default.*metric 4294967295)'
}

guard_of() { # OPTIONS
	up_in_background "$@"
	wait_for 10 ready || not_ok "weir up" "$(cat "$TMP/up.err")"
	check "$MODE: while it runs its BPF programs are seen" test "$(programs_left)" -ge "$SOME_BPF"
	end_supervisor
	snapshot >"$TMP/guard"
	diff "$TMP/clean" "$TMP/guard" | grep '^[<>]' | sort >"$TMP/guard.more"
	is "$MODE: what is left after its end is the guard" "$(is_guard)" ""
}

kills() { # MODE OPTIONS
	MODE=$1
	shift
	BAD=0 KILL=0 VICTIM=supervisor MOMENT=running
	guard_of "$@"
	if [ $MODE = fail-open ]; then
		is "$MODE: which is nothing" "$(cat "$TMP/guard.more")" ""
	else
		check "$MODE: which is not nothing" test -s "$TMP/guard.more"
	fi
	nothing_left
	for ((KILL = 1; KILL <= KILLS; KILL++)); do one_kill "$@"; done
	is "$MODE: $KILLS kills (SEED=$SEED)" $BAD 0
}

tries_to_get_past() {
	as $ALICE /usr/bin/python3 - $PLAIN4 $PLAIN6 <<-'PY'
	import socket, sys, time
	while True:
	    for to in sys.argv[1:]:
	        for dev in None, b"h0\0":
	            with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) as s:
	                try:
	                    if dev:
	                        s.setsockopt(socket.SOL_SOCKET, 25, dev)
	                    s.connect((to, 9))
	                    s.send(b"past")
	                except OSError:
	                    pass
	    time.sleep(0.005)
	PY
}

need_weir
need_tools tests/lib/bpf_left tests/lib/peer tests/lib/hostile
command -v setpriv >/dev/null || skip_all "needs setpriv"
topology_up
counters_up
mkdir -p "$TMP/run" && chmod 755 "$TMP"
SOME_BPF=1
in_host "$WEIR" doctor 2>/dev/null | grep -qi 'bpf.*\(missing\|not\)' && SOME_BPF=0
snapshot >"$TMP/clean"
bg tries_to_get_past
kills fail-closed
kills fail-open --fail-open
done_testing
