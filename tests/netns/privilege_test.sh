#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Who may do what: the worker nothing, COMMAND what the caller may, and what is said
# where the machine forbids a piece. The system call filter itself: tests/unit/isolate_test.c.
. "$(dirname "$0")/lib.sh"

field() { awk -v f="$2:" '$1 == f {$1 = ""; sub(/^ /, ""); gsub(/\t/, " "); print}' "/proc/$1/status"; }
worker_of() {
	local p
	for p in $(cat "/proc/$1/task/$1/children"); do
		[ "$(cat "/proc/$p/comm")" = weir-keeper ] || echo "$p"
	done
}
locked() { [ "$(field "$(worker_of "$1")" Seccomp)" = 2 ]; }

for who in root user; do
	prefix $who
	"${PRE[@]}" "$WEIR" run -q -- sleep 20 7</etc/passwd &
	weir=$!
	wait_for 5 locked $weir
	ok $? "$who: worker: system call filter"
	w=$(worker_of $weir)
	is "$(field "$w" NoNewPrivs)" 1 "$who: worker: no new privileges"
	for set in CapInh CapPrm CapEff CapAmb; do
		is "$(field "$w" $set)" 0000000000000000 "$who: worker: $set empty"
	done
	if [ $who = root ]; then
		is "$(field "$w" Uid | xargs -n1 | sort -u)" "$(id -u weir 2>/dev/null || id -u nobody)" "$who: worker: an ordinary user"
		is "$(field "$w" Groups | xargs)" "" "$who: worker: no supplementary groups"
	else
		is "$(field "$w" Uid | xargs -n1 | sort -u)" 2001 "$who: worker: the caller"
		as user sh -c "cat /proc/$w/environ" >/dev/null 2>&1
		is $? 1 "$who: worker: not traceable by its own user"
	fi
	is "$(awk '/Max core/ {print $5, $6}' "/proc/$w/limits")" "0 0" "$who: worker: no core dump"
	is "$(awk '{print $6}' "/proc/$w/stat")" "$w" "$who: worker: a session of its own"
	is "$(readlink /proc/$w/fd/* | grep -v -E '^(socket:|anon_inode:|pipe:|/dev/net/tun|/dev/null)' | grep -v -x -F "$(readlink /proc/$weir/fd/2)")" "" "$who: worker: only sockets, the device, the loop and stderr"
	is "$(readlink /proc/$w/fd/* | grep -c passwd)" 0 "$who: worker: none of the caller's descriptors"
	is "$(readlink "/proc/$w/ns/net")" "$(readlink /proc/self/ns/net)" "$who: worker: in the caller's network"
	kill -TERM $weir
	wait $weir 2>/dev/null
done

# --- an ordinary user's program that gains rights: its descriptors are closed, its owner is known
for ping in 'ping -c 1 -W 1 198.51.100.9' 'ping -6 -c 1 -W 1 2001:db8:9::9'; do
	rm -f "$TMP/share/log"
	run user --log "$TMP/share/log" -- sh -c "$ping >/dev/null 2>&1"
	like "$(cat "$TMP/share/log")" '"uid":2001.*"comm":"ping","exe":"/[a-z/]*ping"' "user: $ping: the owner is known"
done

# --- what is forbidden is said in one line, with 126
# said NAME PATTERN: of $out and $status
said() {
	is "$status" 126 "$1: 126"
	is "$(wc -l <<<"$out")" 1 "$1: one line"
	like "$out" "$2" "$1: says what to change"
}
mkdir "$TMP/empty"
out=$(unshare -m --propagation private sh -c "mount --bind $TMP/empty /dev/net && exec $WEIR run -- true" 2>&1)
status=$?
said "/dev/net/tun missing" 'modprobe tun'
out=$(unshare -m --propagation private sh -c "chmod 600 $TMP/tun; mount --bind $TMP/tun /dev/net/tun &&
	exec setpriv --reuid 2001 --regid 2001 --clear-groups $WEIR run -- true" 2>&1)
status=$?
said "/dev/net/tun closed" 'chmod 0666 /dev/net/tun'
chmod 666 "$TMP/tun"
# the limit belongs to the user namespace: one of our own may be changed
out=$(as user unshare -Ur sh -c "echo 0 >/proc/sys/user/max_user_namespaces
	exec setpriv --bounding-set=-sys_admin --inh-caps=-all $WEIR run -- true" 2>&1)
status=$?
said "user namespaces off" 'user.max_user_namespaces'

# --- nested, and root without power
is "$(run user --map-root -- "$WEIR" run -q -- id -u 2>&1)" 0 "weir inside weir"
is "$(as root setpriv --bounding-set=-sys_admin --inh-caps=-all "$WEIR" run -q -- id -u 2>&1)" 0 "root without CAP_SYS_ADMIN takes a user namespace"

# --- doctor
out=$(as root "$WEIR" doctor)
is $? 0 "doctor: works for root"
like "$out" '^ok +TUN device' "... with a mark on each line"
out=$(as user "$WEIR" doctor)
is $? 0 "doctor: works for a user who may open the device"
like "$out" 'nogroup' "... says what a user namespace costs"
like "$out" '^ok +SOCK_DESTROY' "... SOCK_DESTROY in a user namespace"
out=$(setpriv --reuid 2001 --regid 2001 --clear-groups unshare -Urm sh -c "mount --bind $TMP/empty /dev/net; exec $WEIR doctor" 2>&1)
is $? 1 "doctor: 1 where run can't work"
like "$out" '^no +TUN device .*missing' "doctor: names what is missing"
like "$out" 'modprobe' "doctor: says what to change"
like "$out" '^no +TUN device' "... and the line says so"
is "$(wc -l <<<"$(as root "$WEIR" doctor)" | awk '{print ($1 <= 24)}')" 1 "doctor: one screen"
done_testing
