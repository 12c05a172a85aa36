#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Signals, job control and death, without any network.
#
#   terminal (pty) -- bash -i -- weir run -- COMMAND
#                        one process group: weir, keeper, COMMAND
. "$(dirname "$0")/lib.sh"

# jobctl prints "STATUS NAME" lines, and details of failures as comments
for who in root user; do
	prefix $who
	while IFS= read -r line; do
		case $line in
		[01]\ *) ok "${line%% *}" "$who: ${line#* }" ;;
		*) echo "$line" ;;
		esac
	done < <(timeout 120 python3 tests/netns/jobctl.py "${PRE[@]}" :: "$WEIR" 2>&1 || echo "1 jobctl.py went through")
done

# --- what COMMAND leaves behind
for who in root user; do
	start=$(date +%s%N)
	as $who "$WEIR" run -- sh -c 'sleep 1.6 >/dev/null 2>&1 & exit 3' 2>"$TMP/err"
	is $? 3 "$who: status is COMMAND's, whoever ends last"
	ok $((($(date +%s%N) - start) / 1000000 < 1500)) "$who: descendants keep the network until they end"
	like "$(cat "$TMP/err")" 'sh has ended; 1 descendant still uses the network' "$who: ... and weir says what it waits for"
	start=$(date +%s%N)
	run $who --kill-children -- sh -c '(setsid sleep 20 &) ; exit 3'
	is $? 3 "$who: --kill-children: status"
	ok $((($(date +%s%N) - start) / 1000000 > 1500)) "$who: --kill-children ends them at once, in a session of their own as well"
	run $who -- sh -c 'sleep 20 & exit 3' &
	weir=$!
	sleep 0.6
	pkill -TERM -P $$ -x weir 2>/dev/null || kill -TERM $weir
	start=$(date +%s%N)
	wait $weir
	ok $((($(date +%s%N) - start) / 1000000 > 1500)) "$who: SIGTERM ends what is left"
done

# --- an end that is asked for while the namespaces are still being made
# The keeper waits for a passwd that nobody writes, as it may for a busy machine.
mkfifo "$TMP/fifo"
for sig in TERM INT; do
	# what a shell starts in the background ignores SIGINT
	unshare -m --propagation private sh -c "mount --bind $TMP/fifo /etc/passwd &&
		exec env --default-signal=INT $WEIR run -q --user nobody -- true" &
	weir=$!
	wait_for 5 pgrep -P $weir -x weir-keeper
	keeper=$(pgrep -P $weir -x weir-keeper)
	sleep 0.2
	start=$(date +%s%N)
	kill -$sig $weir
	wait_for 5 test ! -e "/proc/$weir/exe"
	ok $((($(date +%s%N) - start) / 1000000 > 1000)) "SIG$sig during the set-up ends it soon"
	kill -KILL $weir $keeper 2>/dev/null
	wait $weir
	is $? $((128 + $(kill -l $sig))) "... by that signal"
	ok "$([ -n "$keeper" ] && [ ! -e "/proc/$keeper" ]; echo $?)" "... with its keeper"
done
done_testing
