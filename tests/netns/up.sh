# SPDX-License-Identifier: MIT
# up.sh - `weir up` in namespace $HOST, with numeric users, and what it leaves; sourced after topology.sh.
#
# ALICE and BOB are selected or not as a test says, CAROL never; WORKER is the relay's user. The nft
# table "count" counts what each of them sends by the real device, and what the kernel sends alone: resets
# from port 45454 only, as it sends them for late data to the relay's sockets, too.

# UP_VIA: a command in front of weir; UP_CONFIG: its --config instead of --no-config
ALICE=2001 BOB=2002 CAROL=2003 WORKER=2990
UP_PID=

as() { # UID COMMAND...: in $HOST
	local uid=$1
	shift
	in_host setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
}

counters_up() {
	in_host nft -f - <<-RULES
	table inet count {
		counter alice { }
		counter bob { }
		counter carol { }
		counter worker { }
		counter kernel { }
		chain post {
			type filter hook postrouting priority 300; policy accept;
			oifname != "h0" return
			meta skuid $ALICE counter name alice
			meta skuid $BOB counter name bob
			meta skuid $CAROL counter name carol
			meta skuid $WORKER counter name worker return
			tcp flags & rst == rst tcp sport 45454 counter name kernel
			icmp type destination-unreachable counter name kernel
			icmpv6 type destination-unreachable counter name kernel
		}
	}
	RULES
}

sent() { # NAME: packets by h0 since the last counters_zero
	in_host nft list counter inet count "$1" | awk '/packets/ { print $2 }'
}

# another change of the ruleset in between interrupts it
counters_zero() { wait_for 5 in_host nft reset counters table inet count; }

# what a host is, as text; our own table of counters and the kernel's cache of addresses are not it
host_state() {
	in_host ip rule
	in_host ip -6 rule
	in_host ip route show table all
	in_host ip -6 route show table all | sed 's/ expires [0-9]*sec//'
	in_host ip -o link 2>/dev/null | sed 's/^[0-9]*: //; s/ qlen [0-9]*//'
	in_host nft list ruleset | sed '/^table inet count/,/^}/d'
	in_host sysctl -a 2>/dev/null | grep -E '^net\.ipv[46]\.(fwmark_reflect|conf\.[a-z0-9]*\.(rp_filter|accept_local|forwarding|src_valid_mark))'
	ls "$TMP/run" 2>/dev/null
}

up_start() { # OPTIONS: until it is ready; UP_PID
	: >"$TMP/up.err"
	nsenter --net=/run/netns/$HOST ${UP_VIA-} "$WEIR" up ${UP_CONFIG---no-config} --runtime-dir "$TMP/run" --worker-user $WORKER --quiet \
		--log "$TMP/up.json" "$@" 2>"$TMP/up.err" &
	UP_PID=$!
	BG+=($UP_PID)
	wait_for 10 in_host "$WEIR" status --runtime-dir "$TMP/run" && return
	not_ok "weir up $*" "$(cat "$TMP/up.err")"
	return 1
}

up_stop() {
	kill -TERM $UP_PID 2>/dev/null
	wait $UP_PID
}

up_down() { in_host "$WEIR" down --runtime-dir "$TMP/run"; }

# flows that the log has: FILTER is a python expression over e (the record), o (its owner)
logged() { # FILTER [EVENT_TYPE]
	python3 - "$TMP/up.json" "$1" "${2:-flow}" <<-'PY'
	import json, sys
	n = 0
	for line in open(sys.argv[1]):
	    e = json.loads(line)
	    o = e["weir"].get("owner") or {}
	    if e["event_type"] == sys.argv[3] and eval(sys.argv[2]):
	        n += 1
	print(n)
	PY
}
