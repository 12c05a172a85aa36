# SPDX-License-Identifier: MIT
# in_cases.sh - the probe of tests/fidelity runs in $NET against servers on $HOST: what it sees must be the
# same with weir as without; sourced after topology.sh, by tests that set HOST4 and HOST6.

# name | probe and its arguments, without family and address | regex for the direct path
CASES='
connect: accepted                    | connect 7001 | connect 0 at once
half-close by the client             | half_close_up | answer .1000003 [0-9a-f]{8}., then EOF
half-close by the server, data after | half_close_down | read 100000 .*EOF.*EOF 100000
no bytes at all                      | empty | answer .0 .*EOF.read 0 bytes.*EOF
reset by the server                  | reset_by_peer | then ECONNRESET.send EPIPE
reset by the server, unread data     | reset_unread | read 10 bytes.*ECONNRESET
reset by the client                  | reset_by_us | server: answer .ECONNRESET.
reset by the client, unread data     | reset_by_us_unread | server: answer .ECONNRESET 0
simultaneous close                   | simultaneous_close 7009 | read 1.shutdown 0.*EOF.close 0
slow server: held up, nothing lost   | slow_reader | held up yes.send 0.answer .16777216
slow client: server held up          | slow_program | read 16777216.*EOF.server: answer .held up
echo                                 | echo 7001 | good rounds 40 of 40.*EOF
same four numbers after a reset      | reuse_after_reset | (connect 0.echo yes.?){20}
same four numbers, server closed     | reuse_after_peer_closed | (connect 0.read 0 bytes, sum 00000001, then EOF.?){3}
ping-pong of one byte                | ping_pong | median < 10 ms
idle for three seconds               | idle | echo yes.echo yes
UDP sizes 0 to 65507                 | dgram_sizes | 65507 bytes: 65507, same yes
UDP answer from the asked port       | dgram_from 7101 | unconnected: 5 from .* 7101.connected: [^E]
UDP DSCP and ECN to the client       | dgram_tos_down | asked for tos 184, got 184
UDP order                            | dgram_order | 1000 of 1000 came back, 0 out of order
UDP order, burst to the client       | dgram_burst | 1000 of 1000 arrived, 0 out of order
UDP segmentation offload             | dgram_segmented | 10 of 10 segments
'

probe() { # FAMILY ARGS...: the case $2 with the server's address behind it
	local v=$1 name=$2 a=$HOST4
	shift 2
	[ "$v" = 4 ] || a=$HOST6
	in_net timeout -k 5 60 "$B/tests/fidelity/probe" "$name" "$v" $a "$@" 2>/dev/null
}

trim() { sed 's/^ *//; s/ *$//' <<<"$1"; }

each_case() { # FUNCTION: with FAMILY NAME EXPECT ARGS...
	local name args expect v
	while IFS='|' read -r name args expect; do
		[ -n "$(trim "$name")" ] || continue
		for v in 4 6; do "$1" $v "$(trim "$name")" "$(trim "$expect")" $args; done
	done <<<"$CASES"
}

declare -A DIRECT

direct_case() {
	local key="$1 $2"
	DIRECT[$key]=$(probe "$1" "${@:4}")
}

weir_case() {
	local key="$1 $2" direct=${DIRECT["$1 $2"]}
	if ! [[ ${direct//$'\n'/ } =~ $3 ]]; then
		not_ok "v$key: the direct path itself" "$direct"$'\n'"want: $3"
	else
		is "v$key" "$(probe "$1" "${@:4}")" "$direct"
	fi
}
