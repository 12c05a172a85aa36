# SPDX-License-Identifier: MIT
# cases.sh - each behaviour of the network, seen directly and through weir; sourced with FAMILY set.
#
# A case is one line: name | probe and its arguments | regex for what the direct path must show.
# The third field keeps the test honest: two broken runs that agree are not a success.
#   P plain server, D delayed, H hostile, A its second address, S behind the smaller MTU,
#   E:n answers of the router, U and X unreachable and prohibited by
#   the host's own routes. See tests/netns/topology.sh.

. "$(dirname "${BASH_SOURCE[0]}")/../netns/topology.sh"

CASES='
connect: refused                           | connect P 7099 | ECONNREFUSED at once
connect: refused, delayed server           | connect D 7099 | ECONNREFUSED at once
connect: refused, hostile server           | connect H 9002 | ECONNREFUSED at once
connect: accepted                          | connect P 7001 | connect 0 at once
connect: refused twice on one socket       | connect_again P 7099 | ECONNREFUSED.connect ECONNREFUSED
connect: poll, accepted                    | connect_poll P 7001 | EINPROGRESS.poll OUT, SO_ERROR 0
connect: poll, refused                     | connect_poll P 7099 | ERR, SO_ERROR ECONNREFUSED
connect: poll, unreachable                 | connect_poll E:10 7001 | ERR, SO_ERROR EHOSTUNREACH
connect: reset by a middle box             | connect E:16 7001 | ECONNREFUSED at once
connect: reset right after the handshake   | connect_synack_rst H | ECONNRESET
connect: host unreachable                  | connect E:10 7001 | EHOSTUNREACH at once
connect: network unreachable               | connect E:11 7001 | ENETUNREACH at once
connect: port unreachable                  | connect E:18 7001 | ECONNREFUSED at once
connect: prohibited                        | connect E:13 7001 | (EHOSTUNREACH|EACCES) at once
connect: host prohibited, policy           | connect E:14 7001 | (EHOSTUNREACH|EACCES) at once
connect: network prohibited, reject route  | connect E:15 7001 | (ENETUNREACH|EACCES) at once
connect: unreachable by own routes         | connect U 7001 | EHOSTUNREACH at once
connect: prohibited by own routes          | connect X 7001 | EACCES at once
connect: silence, limit of the program     | connect_timeout E:17 | ETIMEDOUT after [1-9]
connect: silence, limit of the host        | connect E:17 7001 | ETIMEDOUT after [1-9]
connect: server misses the first SYNs      | late H | connect 0 after 2 s.echo yes
connect: given up by the program           | give_up H | EINPROGRESS.*echo yes
half-close up                              | half_close_up P | answer .1000003 [0-9a-f]{8}., then EOF
half-close up, delayed                     | half_close_up D | answer .1000003 [0-9a-f]{8}., then EOF
half-close down, data after                | half_close_down P | read 100000 .*EOF.*EOF 100000
half-close down, delayed                   | half_close_down D | read 100000 .*EOF.*EOF 100000
no bytes at all                            | empty P | answer .0 .*EOF.read 0 bytes.*EOF
reset by the peer                          | reset_by_peer P | then ECONNRESET.send EPIPE
reset by the peer, delayed                 | reset_by_peer D | then ECONNRESET.send EPIPE
reset by the peer with unread data         | reset_unread P | read 10 bytes.*ECONNRESET
reset in the middle of data                | reset_midway H | read 1000 bytes.*ECONNRESET
reset by the program                       | reset_by_us P | server: answer .ECONNRESET.
reset by the program, delayed server       | reset_by_us D | server: answer .ECONNRESET.
reset by the program with unread data      | reset_by_us_unread P | server: answer .ECONNRESET 0
reset outside of the sequence is ignored   | blind_reset H | answer .alive., then EOF
simultaneous close                         | simultaneous_close P 7009 | read 1.shutdown 0.*EOF.close 0
simultaneous close, delayed                | simultaneous_close D 7009 | read 1.shutdown 0.*EOF.close 0
simultaneous close, FINs that cross        | simultaneous_close H 9008 | read 1.shutdown 0.*EOF.close 0
FIN before the data                        | fin_first H | read 2000 bytes.*EOF
slow server: held up, nothing lost         | slow_reader P | held up yes.send 0.answer .16777216
slow program: server held up               | slow_program P | read 16777216.*EOF.server: answer .held up
zero window, twice                         | zero_window H | answer .200000 .*more than 2 s: yes
urgent data inline                         | urgent P | read .abc!def..answer .x.y., then EOF
echo                                       | echo P 7001 | good rounds 40 of 40.*EOF
echo, delayed                              | echo D 7001 | good rounds 40 of 40.*EOF
echo, odd and disordered segments          | echo H 9001 | good rounds 40 of 40.*EOF
same four numbers after a reset            | reuse_after_reset P | (connect 0.echo yes.?){20}
same four numbers, peer closed first       | reuse_after_peer_closed P | (connect 0.read 0 bytes, sum 00000001, then EOF.?){3}
same four numbers in TIME_WAIT             | reuse_time_wait P | (connect 0.read 0 bytes, sum 00000001, then EOF.?){2}
one port to two destinations               | two_destinations P D | echo yes yes.*echo yes$
keepalive carried to a dead peer           | keepalive H | recv ETIMEDOUT.*at least 2 probes: yes
ping-pong of one byte                      | ping_pong P | median < 10 ms
ping-pong of one byte, delayed             | ping_pong D | median < 38 ms
write, write, read                         | two_writes P | median < 10 ms
write, write, read, delayed                | two_writes D | median < 38 ms
idle for three seconds                     | idle P | echo yes.echo yes
getsockname and getpeername                | names P | getsockname .*7[78].*getpeername
UDP sizes 0 to 65507                       | dgram_sizes P | 65507 bytes: 65507, same yes
UDP sizes, delayed                         | dgram_sizes D | 65507 bytes: 65507, same yes
UDP one mapping for all destinations       | dgram_mapping P D | answered yes.same port for both destinations yes
UDP answer from the asked port             | dgram_from P 7101 | unconnected: 5 from .* 7101.connected: [^E]
UDP answer from another port               | dgram_from P 7103 | unconnected: 5 from .* 7150.connected: ETIMEDOUT
UDP answer from another address            | dgram_from P 7104 | unconnected: 5 from .*12 7104.connected: ETIMEDOUT
UDP answers that were not asked for        | dgram_unasked P | same from.*port from.*addr from
UDP refused                                | dgram_error P 7199 | recv ECONNREFUSED
UDP host unreachable                       | dgram_error E:10 7101 | send 0
UDP host prohibited                        | dgram_error E:14 7101 | recv (EHOSTUNREACH|EACCES)
UDP prohibited                             | dgram_error E:13 7101 | recv (EHOSTUNREACH|EACCES)
UDP protocol error                         | dgram_error H 9121 | recv EPROTO
UDP unreachable by own routes              | dgram_error U 7101 | connect EHOSTUNREACH
UDP prohibited by own routes               | dgram_error X 7101 | connect EACCES
UDP silence                                | dgram_error E:17 7101 | recv ETIMEDOUT
UDP error queue: refused                   | dgram_recverr P 7199 | ECONNREFUSED origin [23] .*sent yes
UDP error queue: host unreachable          | dgram_recverr E:10 7101 | EHOSTUNREACH origin [23]
UDP error queue: network unreachable       | dgram_recverr E:11 7101 | ENETUNREACH origin [23]
UDP error queue: prohibited                | dgram_recverr E:13 7101 | origin [23] type
UDP error queue: code 5                    | dgram_recverr H 9105 | origin [23] type
UDP error queue: time exceeded             | dgram_recverr P 7101 1 | EHOSTUNREACH origin [23] type (11|3) code 0
UDP error queue: time exceeded elsewhere   | dgram_recverr H 9120 | EHOSTUNREACH origin [23] type (11|3) code 0
UDP error queue: parameter problem         | dgram_recverr H 9121 | EPROTO origin [23]
UDP error queue: too big                   | dgram_recverr H 9122 | EMSGSIZE origin [23] .* info 1300
UDP healthy beside refused                 | dgram_beside P | 10 of 10|[1-9] of 10
UDP too big for the path                   | dgram_too_big S | info 1400.*send again EMSGSIZE.path MTU 1400.*echo 1[0-9]{3}
UDP path that shrinks                      | dgram_small_path S | tries: 3000
UDP DSCP and ECN up                        | dgram_tos P | sent tos 185, server saw tos 185
UDP DSCP and ECN down                      | dgram_tos_down P | asked for tos 184, got 184
UDP TTL                                    | dgram_ttl P | sent ttl 33, server saw tos 0 ttl 32|sent ttl 33, server saw ttl 32
UDP order                                  | dgram_order P | 1000 of 1000 came back, 0 out of order
UDP order, burst down                      | dgram_burst P | 1000 of 1000 arrived, 0 out of order
UDP segmentation offload                   | dgram_segmented P | 10 of 10 segments
echo request sizes                         | echo_sizes P | echo of 8000 bytes: 8000 .* same yes
echo request identifiers                   | echo_ident P | first: 16 bytes, ident 4711.*second: 24
echo request: host unreachable             | echo_recverr E:10 | EHOSTUNREACH origin [23]
echo request: time exceeded                | echo_recverr P 1 | EHOSTUNREACH origin [23] type (11|3)
unknown protocol 253                       | protocol P 253 | origin [23] type
unknown protocol SCTP                      | protocol P 132 | origin [23] type
addresses and MTU                          | addresses | 77.*2/(24|64) mtu 1500 up yes
source address of a route                  | route P | connect 0.source .*77.*2
'

# What cannot be the same: name pattern | sed that turns the direct output into weir's |
# families | reason.
# docs/LIMITS.md carries this list. A case that shows neither line fails.
ACCEPTED='
connect: prohibited by own routes|s/EACCES/EHOSTUNREACH/|4|no ICMPv4 error becomes EACCES
UDP unreachable by own routes|s/.*/send 0\nrecv EHOSTUNREACH\nsend 0/|4|own routes answer at once, weir by ICMP
UDP prohibited by own routes|s/.*/send 0\nrecv EHOSTUNREACH\nsend 0/|4|as above, and no ICMPv4 error becomes EACCES
UDP unreachable by own routes|s/.*/send 0\nrecv ETIMEDOUT\nsend 0/|6|no ICMPv6 error gives EHOSTUNREACH to a connected socket
UDP prohibited by own routes|s/.*/send 0\nrecv EACCES\nsend 0/|6|own routes answer at once, weir by ICMP
same four numbers in TIME_WAIT|3s/0/EADDRNOTAVAIL/;4d|46|lwIP has no timestamps, without which the kernel keeps a port in TIME_WAIT
'

address() { # TOKEN -> address of this family
	local v=$FAMILY
	case $1 in
	P) echo "$([ "$v" = 4 ] && echo $PLAIN4 || echo $PLAIN6)" ;;
	D) echo "$([ "$v" = 4 ] && echo $DELAYED4 || echo $DELAYED6)" ;;
	H) echo "$([ "$v" = 4 ] && echo $HOSTILE4 || echo $HOSTILE6)" ;;
	S) echo "$([ "$v" = 4 ] && echo $SMALL4 || echo $SMALL6)" ;;
	E:*) echo "$([ "$v" = 4 ] && echo 10.80.0."${1#E:}" || echo fd80::"${1#E:}")" ;;
	U) echo "$([ "$v" = 4 ] && echo 10.81.0.1 || echo fd81::1)" ;;
	X) echo "$([ "$v" = 4 ] && echo 10.82.0.1 || echo fd82::1)" ;;
	*) echo "$1" ;;
	esac
}

trim() {
	local t=$1
	t=${t#"${t%%[! ]*}"}
	echo "${t%"${t##*[! ]}"}"
}

# accepted NAME DIRECT: what weir may show instead, and why in $REASON; fails when nothing is listed
accepted() {
	local pattern edit families reason
	while IFS='|' read -r pattern edit families reason; do
		[ -n "$pattern" ] && [[ $families == *$FAMILY* ]] && [[ $1 == $pattern ]] || continue
		REASON=$reason
		INSTEAD=$(sed "$edit" <<<"$2")
		return 0
	done <<<"$ACCEPTED"
	return 1
}

compare() { # NAME DIRECT WEIR
	if [ "$2" = "$3" ]; then
		ok "$1"
	elif accepted "${1#v? }" "$2" && [ "$INSTEAD" = "$3" ]; then
		ok "$1 (listed difference: $REASON)"
	else
		not_ok "$1" "$(diff -U9 --label direct --label weir <(echo "$2") <(echo "$3"))"
	fi
}

# forget_paths: what the kernel has learnt of a path's MTU in one run must not help the next
forget_paths() {
	ip -n $HOST -4 route flush cache
	ip -n $HOST -6 route flush cache
}

run_case() { # NAME ARGS EXPECT
	local name="v$FAMILY $1" words=() w direct weir
	for w in $2; do words+=("$(address "$w")"); done
	words=("${words[0]}" "$FAMILY" "${words[@]:1}")
	forget_paths
	direct=$(in_host timeout -k 5 120 "$B/tests/fidelity/probe" "${words[@]}" 2>>"$TMP/direct.err")
	if ! [[ ${direct//$'\n'/ } =~ $3 ]]; then
		not_ok "$name: the direct path itself" "$direct"$'\n'"want: $3"
		return
	fi
	if [ -n "${DIRECT_ONLY-}" ]; then
		ok "$name (direct only)"
		return
	fi
	forget_paths
	weir=$(via_weir "$B/tests/fidelity/probe" "${words[@]}" 2>>"$TMP/weir.err")
	compare "$name" "$direct" "$weir"
}

run_cases() {
	local name line expect
	while IFS='|' read -r name line expect; do
		[ -n "$(trim "$name")" ] || continue
		[[ $name == *${ONLY-}* ]] || continue
		run_case "$(trim "$name")" "$(trim "$line")" "$(trim "$expect")"
	done <<<"$CASES"
}

fidelity_main() {
	[ -n "${DIRECT_ONLY-}" ] || need_weir
	need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
	topology_up
	distant_answers
	servers_up
	start_ready "$TMP/small.log" in_net "$B/tests/lib/peer" 0 $SMALL4 - $SMALL6 -
	# silence is worth few seconds of a test's time
	in_host sysctl -qw net.ipv4.tcp_syn_retries=2
	run_cases
	[ -n "${DIRECT_ONLY-}" ] || check "v$FAMILY no sanitizer and no crash spoke up" \
		sh -c "! grep -E 'runtime error|Sanitizer|worker (died|crashed)' $TMP/weir.err"
	done_testing
}
