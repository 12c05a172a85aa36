#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Uses that nobody plans: limits, closed and slow outputs, stopped and killed processes,
# many at once. A namespace with lo only: each connection to --host-loopback is refused.
. "$(dirname "$0")/lib.sh"

HOST=weiro-$$
netns_new "$HOST" || skip_all "no network namespaces here"
in_ns "$HOST" ip link set lo up
export XDG_RUNTIME_DIR=$TMP/run
mkdir -m 700 "$XDG_RUNTIME_DIR"
VIA=(nsenter "--net=/run/netns/$HOST" --) # exec'd: $! is weir

cat >"$TMP/many.py" <<'PY'
import socket, sys
for i in range(int(sys.argv[1])):
    s = socket.socket()
    s.connect_ex(("10.99.0.1", 9))
    s.close()
PY
flows=(--host-loopback 10.99.0.1)
worker_of() {
	local p
	for p in $(cat "/proc/$1/task/$1/children"); do
		[ "$(cat "/proc/$p/comm" 2>/dev/null)" = weir-keeper ] || echo "$p"
	done
}
locked() { grep -q '^Seccomp:.*2' "/proc/$(worker_of "$1")/status"; }

# --- the flow log
n=$(run root "${flows[@]}" --log fd:3 -- python3 "$TMP/many.py" 300 3>&1 >/dev/null | (sleep 1; wc -l))
is "$n" 300 "a reader of the log that starts late gets all of it"
out=$(run root "${flows[@]}" --log /dev/full -- python3 "$TMP/many.py" 3 2>&1)
is $? 0 "a full disk under the log is not COMMAND's fault"
like "$out" '3 lines of the flow log lost' "... and is said, also with -q"
(
	ulimit -f 4
	run root "${flows[@]}" --log "$TMP/small" -- python3 "$TMP/many.py" 20 2>/dev/null
)
is $? 0 "a limit of file sizes does not end weir"
run root "${flows[@]}" --log "$TMP/fifo.none/log" -- true 2>/dev/null
is $? 126 "a log that can't be opened: 126"

# --- users
for who in 4294967296 +0 ' 0' 0x0; do
	out=$(run root --user "$who" -- id -u 2>&1)
	is "$?$out" "126weir: --user $who: no such user" "--user '$who' is nobody"
done
is "$(run root --user 0 -- id -u)" 0 "--user 0 is root"

# --- poor surroundings
for n in 16 64; do
	is "$(ulimit -n $n; run root "${flows[@]}" -- sh -c "python3 $TMP/many.py 50; ulimit -n" 2>&1)" $n "$n open files are enough, and stay COMMAND's limit"
done
is "$(mkdir "$TMP/gone" && cd "$TMP/gone" && rmdir ../gone && run root -- echo ok)" ok "a directory that is gone"
is "$(run root -- "$WEIR" run -q -- "$WEIR" run -q -- echo ok)" ok "three weirs, one in the other"
is "$(XDG_RUNTIME_DIR=/nonexistent run root -- sh -c "$WEIR flows --instance \$(ps -o ppid= -p \$PPID) && echo found")" found "a runtime directory that is not there"

# --- standard error is for writing, for the worker
"${VIA[@]}" "$WEIR" run -q -- sleep 20 2<>"$TMP/err" &
weir=$!
wait_for 5 locked $weir
is "$(awk '/flags/ {print $2 % 4}' "/proc/$(worker_of $weir)/fdinfo/2")" 1 "the worker can't read what stands at its standard error"

# --- a stopped one
kill -STOP $weir
bad=0
for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
	timeout -s KILL 10 "${VIA[@]}" "$WEIR" run -q -- true || bad=$((bad + 1))
done
is $bad 0 "a stopped weir does not keep others from starting"
kill -CONT $weir
kill $weir
wait $weir 2>/dev/null

# --- COMMAND killed while it is stopped, and we with it
"${VIA[@]}" "$WEIR" run -q -- sleep 20 &
weir=$!
command_of() { pgrep -P "$(pgrep -P "$1" -x weir-keeper)" -x sleep; }
wait_for 5 command_of $weir
kill -STOP "$(command_of $weir)"
stopped() { [ "$(awk '{print $3}' "/proc/$weir/stat")" = T ]; }
wait_for 5 stopped
ok $? "COMMAND stopped: weir is stopped"
kill -KILL "$(command_of $weir)"
over() { [ ! -d "/proc/$weir" ] || [ "$(awk '{print $3}' "/proc/$weir/stat")" = Z ]; }
wait_for 5 over
ok $? "... and killed: weir ends"
kill -CONT $weir 2>/dev/null
wait $weir 2>/dev/null
is $? 137 "... as it did"

# --- a worker that is killed before it is ready
"${VIA[@]}" "$WEIR" run -q -- sh -c 'sleep 3; exit 7' 2>"$TMP/err" &
weir=$!
wait_for 5 locked $weir
python3 - $weir "$(worker_of $weir)" <<'PY'
import os, signal, sys
children, old = f"/proc/{sys.argv[1]}/task/{sys.argv[1]}/children", sys.argv[2]
keeper = set(open(children).read().split()) - {old}
os.kill(int(old), signal.SIGKILL)
for _ in range(2): # the next two have no time to get ready
    new = set()
    while not new:
        new = set(open(children).read().split()) - keeper - {old}
    old = new.pop()
    os.kill(int(old), signal.SIGKILL)
PY
wait $weir
is $? 7 "workers killed before they are ready: another one takes over"

# --- many at once
for _ in $(seq 30); do
	"${VIA[@]}" "$WEIR" run -q -- sleep 20 &
done
all() { [ "$(ls "$XDG_RUNTIME_DIR/weir" | wc -l)" = 30 ]; }
wait_for 20 all
is "$(ls "$XDG_RUNTIME_DIR/weir" | wc -l)" 30 "thirty started at once can all be asked"
pids=$(jobs -p)
kill $pids
wait
is "$(ls -A "$XDG_RUNTIME_DIR")" "" "... and leave nothing"
is "$(ip netns pids "$HOST" | wc -l)" 0 "no process is left"
done_testing
