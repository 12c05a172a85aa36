#!/bin/bash
# SPDX-License-Identifier: MIT
# owner.sh - whose flow it was: programs that use the network once and end at once, each of which
# notes who it is, against what weir's flow log says; with BPF and without. Root.
#
#   N=10000 PARALLEL=8 OUT=file (markdown; default build/owner.md)   QUICK=1: N=800
#
# Also what BPF costs those who are not watched: connect, send, close over the loopback of another
# namespace, with a `weir run` at work and without, ROUNDS times in turn (QUICK=1: 2).
cd "$(dirname "$0")/../netns" || exit 1
. ./topology.sh
. ../bench/attrib.sh
N=${N:-$([ -n "${QUICK-}" ] && echo 800 || echo 10000)}
ROUNDS=${ROUNDS:-$([ -n "${QUICK-}" ] && echo 2 || echo 6)}
PARALLEL=${PARALLEL:-8}
OUT=${OUT:-$TOP/build/owner.md}
LIMIT=1800

# others_rate: connections a second of somebody who is not watched
others_rate() {
	in_net timeout 60 "$B/tests/bench/crr" -p 2 -a 16 -t 2 127.0.0.1 $((ATTRIB_PORT + 1)) |
		grep -oE 'rate=[0-9]+' | cut -d= -f2
}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# others_cost: the medians without and with a weir at work
others_cost() {
	local i pid
	bg in_net "$B/tests/bench/echo" $((ATTRIB_PORT + 1)) >/dev/null
	wait_for 10 in_net bash -c "</dev/tcp/127.0.0.1/$((ATTRIB_PORT + 1))"
	for ((i = 0; i < ROUNDS; i++)); do
		others_rate >>"$TMP/without"
		weir_run -q -- sh -c "echo >$TMP/at_work; exec sleep 60" &
		pid=$!
		BG+=($pid)
		wait_for 10 test -e "$TMP/at_work"
		others_rate >>"$TMP/with"
		kill $pid
		wait $pid 2>/dev/null
		rm -f "$TMP/at_work"
	done
	echo
	echo "Others' connections, 1/s: without weir $(median <"$TMP/without"), beside it $(median <"$TMP/with")"
}

need_weir
need_tools tests/bench/attrib tests/bench/crr tests/bench/echo
topology_up
attrib_up
for name in bpf sockdiag; do
	start=$SECONDS
	attrib_run $name "$N" "$PARALLEL" $([ $name = bpf ] || echo --no-bpf) || echo "# $name: status $?"
	echo "# $name: $N processes in $((SECONDS - start)) s"
done
mkdir -p "$(dirname "$OUT")"
{
	attrib_judge bpf sockdiag
	others_cost
} | tee "$OUT"
