#!/bin/bash
# SPDX-License-Identifier: MIT
# Owners that the kernel notes when a socket is used: programs that end at once, whoever shares a port,
# and what is left behind. topology.sh: drawing; tests/bench/attrib.c: the programs.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/../bench/attrib.sh"

LOG=
eve() { python3 "$TOP/tests/lib/eve.py" "$LOG" "$@"; }

total() { # NAME FIELD
	sed -n "s/^TOTAL $1 .*\b$2=\([0-9]*\).*/\1/p" "$TMP/judged"
}

every_kind() {
	local n=$((12 * $(attrib_kinds | wc -l)))
	attrib_run bpf $n 4
	is "programs of every kind: all ran" $? 0
	attrib_run sockdiag $n 4 --no-bpf
	attrib_judge bpf sockdiag >"$TMP/judged"
	sed 's/^/# /' "$TMP/judged"
	is "every program's flow is in the log" "$(total bpf flows)" $n
	is "with BPF: the process, by pid and start, of every flow" "$(total bpf right)" $n
	is "... and its user" "$(total bpf right_uid)" $n
	is "... its name" "$(total bpf comm)" $n
	is "... its executable" "$(total bpf exe)" $n
	is "never a wrong one" "$(total bpf wrong) $(total bpf baduid)" "0 0"
	is "without BPF: never a wrong one" "$(total sockdiag wrong) $(total sockdiag baduid)" "0 0"
}

what_is_known() {
	LOG=$TMP/one.json
	weir_run -q --log "$LOG" -- sh -c "(sh -c 'sleep 0.1; echo x >$TMP/ready; bash -c \"echo x \
		>/dev/udp/$PLAIN4/7101\"; true' &); exit 0"
	check "it is said how the owner is known" eve "flows[0].weir.owner.source == 'bpf'"
	check "command line of a program that has ended" eve \
		"flows[0].weir.owner.cmdline.startswith('bash -c echo x')"
	check "executable" eve "flows[0].weir.owner.exe == '$(readlink -f "$(command -v bash)")'"
	check "parents, one of which ended before the flow" eve \
		"[p.comm for p in flows[0].weir.owner.parents][:3] == ['sh', 'sh', 'sh']"
	check "the socket's cookie and inode" eve "flows[0].weir.owner.cookie and flows[0].weir.owner.inode"
	LOG=$TMP/none.json
	weir_run -q --no-bpf --log "$LOG" -- bash -c "exec 3<>/dev/tcp/$PLAIN4/7001; sleep 0.3"
	check "--no-bpf: sock_diag" eve "flows[0].weir.owner.source == 'sockdiag'"
	LOG=$TMP/uids.json
	weir_run -q --log "$LOG" -- python3 -c "
import os, socket
s = socket.socket()
os.setresgid(2001, 2001, 2001)
os.setresuid(2001, 2001, 2001)
s.connect(('$PLAIN4', 7001))"
	check "user of the socket and of the process are two" eve \
		"(o := flows[0].weir.owner).uid == 2001 and o.gid == 2001 and o.socket_uid == 0"
	LOG=$TMP/refused.json
	weir_run -q --log "$LOG" -- bash -c "(</dev/tcp/$PLAIN4/7099) 2>/dev/null"
	check "a refused connection" eve "flows[0].weir.owner.comm == 'bash'"
}

# who_is_first NAME PYTHON: two processes use one port toward one destination; the flow is the first one's
who_is_first() {
	LOG=$TMP/$1.json
	weir_run -q --log "$LOG" -- python3 -c "
import os, socket
def use(family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(('', 4711))
    return s
def child(f):
    pid = os.fork()
    if not pid:
        f(); os._exit(0)
    return pid
def first(pid):
    open('$TMP/first', 'w').write(str(pid))
D = ('$PLAIN4', 7101)
$2"
	check "$1: the first one, or none" eve "all('pid' not in f.weir.owner or
		f.weir.owner.pid == int(first) for f in flows) and len(flows) == 1" first="$(cat "$TMP/first")"
}

rivals() {
	who_is_first "a port used again at once" "
a = child(lambda: use().sendto(b'a', D)); first(a)
os.waitpid(a, 0)
os.waitpid(child(lambda: use().sendto(b'b', D)), 0)"
	who_is_first "the same, connected" "
def go(what):
    s = use(); s.connect(D); s.send(what)
a = child(lambda: go(b'a')); first(a)
os.waitpid(a, 0)
os.waitpid(child(lambda: go(b'b')), 0)"
	who_is_first "a port shared by two" "
s = use(); first(os.getpid()); s.sendto(b'a', D)
os.waitpid(child(lambda: use().sendto(b'b', D)), 0)"
	who_is_first "one connected, one not" "
s = use(); first(os.getpid()); s.connect(D); s.send(b'a')
os.waitpid(child(lambda: use().sendto(b'b', D)), 0)"
}

# still_there ID...: one of these programs is in the kernel
still_there() {
	local id
	for id; do
		! bpftool prog show id "$id" >/dev/null 2>&1 || return 0
	done
	return 1
}

left_behind() {
	local supervisor ids
	command -v bpftool >/dev/null || { skip "nothing is left in the kernel" "no bpftool"; return; }
	bg weir_run -q -- sh -c "echo \$PPID >$TMP/keeper; exec sleep 30"
	wait_for 10 test -s "$TMP/keeper"
	supervisor=$(awk '/^PPid:/ { print $2 }' "/proc/$(cat "$TMP/keeper")/status")
	ids=$(awk '/^prog_id:/ { print $2 }' /proc/"$supervisor"/fdinfo/* 2>/dev/null | sort -un)
	check "programs are at work" still_there $ids
	check "the worker has none of their descriptors" sh -c "! grep -l '^prog_id:' \
		\$(for p in \$(cat /proc/$supervisor/task/*/children); do echo /proc/\$p/fdinfo/*; done) 2>/dev/null"
	kill -KILL "$supervisor"
	check "after kill -9 nothing is left in the kernel" wait_for 10 eval "! still_there $(echo $ids)"
}

need_weir
"$WEIR" doctor 2>/dev/null | grep -qE '^ok +BPF' ||
	skip_all "no BPF here: $("$WEIR" doctor 2>/dev/null | grep -E '^[a-z]+ +BPF')"
need_tools tests/lib/peer tests/lib/hostile tests/bench/attrib
topology_up
servers_up
attrib_up
every_kind
what_is_known
rivals
left_behind
done_testing
