#!/bin/bash
# SPDX-License-Identifier: MIT
# `weir up` of cgroups that come, go and are made again: what a service sends at once, each time
# that it starts, is counted on the real device.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/up.sh"

MOUNT=$(awk '$0 ~ / - cgroup2 / && $4 == "/" { print $5; exit }' /proc/self/mountinfo)
SLICE= UNIT= CG= # made in the hierarchy, under names that nobody else has

# a service: cgroups are made, a process enters the last one and sends at once; then all end
write_service() {
	cat >"$TMP/service.py" <<'PY'
import os, socket, sys, time
root, slice_, unit, times, keep, port = sys.argv[1:7]
times, port = int(times), int(port)
slice_ = os.path.join(root, slice_)
cg = os.path.join(slice_, unit)
me = os.getpid()
refused = answered = 0
slowest = 0
for i in range(times):
    made = not os.path.isdir(slice_)
    if made:
        os.mkdir(slice_)
    if i % 3 == 0:
        os.makedirs(os.path.join(slice_, "other%d.service" % i), exist_ok=True)
    os.mkdir(cg)
    pid = os.fork()
    if not pid:
        with open(os.path.join(cg, "cgroup.procs"), "w") as f:
            f.write("0")
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        began = time.monotonic()
        status = 0
        while True:
            try:
                s.sendto(b"1 7101", ("10.78.0.2", port))
                break
            except PermissionError:
                status |= 1
                if time.monotonic() - began > 3:
                    break
        waited = time.monotonic() - began
        s.settimeout(2)
        try:
            s.recv(100)
            status |= 2
        except OSError:
            pass
        t = socket.socket()
        t.settimeout(4)
        try:
            t.connect(("10.78.0.2", 7001))
            status |= 4
        except OSError:
            pass
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    refused += status & 1
    answered += status >= 6
    for name in os.listdir(slice_):
        if name.startswith("other"):
            os.rmdir(os.path.join(slice_, name))
    os.rmdir(cg)
    if keep == "no":
        os.rmdir(slice_)
print("answered", answered, "first refused", refused)
PY
}

outside() { in_host nft list counter inet mine out | awk '/packets/ { print $2 }'; }

zero() { wait_for 5 in_host nft reset counters table inet mine; } # dumps may be interrupted

service() { # TIMES KEEP-SLICE: as user CAROL's, started by root as a service manager does
	zero
	in_host timeout 200 /usr/bin/python3 "$TMP/service.py" "$MOUNT" $SLICE $UNIT "$1" "$2" 7101
}

cgroups_gone() {
	local d
	find "$CG" -depth -type d 2>/dev/null | while read -r d; do rmdir "$d" 2>/dev/null; done
}

restarted() {
	local said
	up_start --cgroup $SLICE/$UNIT || return
	said=$(service ${RESTARTS:-100} yes)
	is "a service restarted ${RESTARTS:-100} times sends nothing outside" "$(outside)" 0
	like "and is served each time" "$said" "answered ${RESTARTS:-100} "
	echo "# $said"
	said=$(service 30 no)
	is "nor when its slice is made again as well" "$(outside)" 0
	like "and is served" "$said" "answered 30 "
	echo "# $said"
	up_stop
	# a port may have been used twice, which is one flow
	check "its flows are logged" test "$(logged "e['dest_port'] == 7101")" -ge $(((${RESTARTS:-100} + 30) * 9 / 10))
}

# while weir does not look, what may be the service made again is refused
unlooked() {
	local cg=$CG/$UNIT
	mkdir -p "$cg"
	up_start --cgroup $SLICE/$UNIT || return
	kill -STOP $UP_PID
	rmdir "$cg" "$CG"
	mkdir -p "$cg" "$CG/other.service"
	zero
	in_cgroup $UNIT "$B/tests/fidelity/probe" dgram_from 4 $PLAIN4 7101 >/dev/null
	(LIMIT=2 in_cgroup $UNIT "$B/tests/fidelity/probe" connect 4 $PLAIN4 7001 >/dev/null)
	is "before weir has looked a new cgroup sends nothing" "$(outside)" 0
	check "as it is dropped" test "$(in_host nft list chain inet weir_guard unlooked |
		grep -c 'counter packets [1-9]')" = 1
	like "what is no cgroup on the way is not touched" \
		"$(in_host timeout 20 "$B/tests/fidelity/probe" echo 4 $PLAIN4 7001 2>/dev/null)" "40 of 40"
	zero
	kill -CONT $UP_PID
	like "then it is served" "$(in_cgroup $UNIT "$B/tests/fidelity/probe" echo 4 $PLAIN4 7001)" "40 of 40"
	is "by weir" "$(outside)" 0
	like "and another one goes its way" \
		"$(in_cgroup other.service "$B/tests/fidelity/probe" echo 4 $PLAIN4 7001)" "40 of 40"
	check "by the real device" test "$(outside)" -gt 20
	up_stop
	cgroups_gone
}

# others beside it keep their way
neighbours() {
	mkdir -p "$CG/old.service"
	up_start --cgroup $SLICE/$UNIT || return
	zero
	like "a cgroup beside it that was there before goes the old way" \
		"$(in_cgroup old.service "$B/tests/fidelity/probe" echo 4 $PLAIN4 7001)" "40 of 40"
	mkdir "$CG/new.service"
	like "one that is new as well" \
		"$(in_cgroup new.service "$B/tests/fidelity/probe" echo 4 $PLAIN4 7001)" "40 of 40"
	mkdir "$CG/$UNIT" "$CG/$UNIT/below"
	check "by the real device" test "$(outside)" -gt 40
	zero
	like "a cgroup below the selected one" \
		"$(in_cgroup $UNIT/below "$B/tests/fidelity/probe" echo 4 $PLAIN4 7001)" "40 of 40"
	is "is selected too" "$(outside)" 0
	in_host nft flush ruleset
	mine
	wait_for 5 grep -q "nftables tables" "$TMP/up.err"
	like "after a flush of the ruleset" \
		"$(in_cgroup $UNIT "$B/tests/fidelity/probe" echo 4 $PLAIN4 7001)" "40 of 40"
	is "it still is" "$(outside)" 0
	up_stop
	cgroups_gone
}

in_cgroup() { # NAME COMMAND...
	local cg=$CG/$1
	shift
	in_host sh -c 'echo $$ >"$1/cgroup.procs" && shift && exec timeout "$@" 2>/dev/null' - "$cg" ${LIMIT:-20} "$@"
}

unit() {
	mkdir -p "$CG/$UNIT"
	up_start --unit ${UNIT%.service} || return
	cgroups_gone
	like "a unit is found by its name, and again" "$(service 10 yes)" "answered 10 "
	is "nothing of it goes outside" "$(outside)" 0
	kill -9 $UP_PID
	wait $UP_PID 2>/dev/null
	wait_for 5 no_device
	service 3 yes >/dev/null
	is "nor after kill -9, restarted" "$(outside)" 0
	check "weir down" up_down
	like "after weir down it goes the old way" "$(service 3 yes)" "answered 3 "
	check "by the real device" test "$(outside)" -ge 6
	cgroups_gone
}

no_device() { ! in_host ip link show weir0 >/dev/null 2>&1; }

mine() { # what leaves by the real device and is not the worker's; the kernel's own is not counted
	in_host nft -f - <<-RULES
	table inet mine {
		counter out { }
		chain post {
			type filter hook postrouting priority 300;
			oifname != "h0" return
			meta skuid $WORKER return
			meta skuid != 4294967295 counter name out
		}
	}
	RULES
}

need_weir
need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
[ -n "$MOUNT" ] || skip_all "no cgroup v2 is mounted"
# what a test that was killed has left
find "$MOUNT" -depth -mindepth 1 -path "$MOUNT/weirtest*" -type d -mmin +10 -exec rmdir {} + 2>/dev/null
CG=$(mktemp -d "$MOUNT/weirtestXXXXXX.slice" 2>/dev/null) || skip_all "cgroup v2 can't be written here"
SLICE=${CG##*/}
UNIT=${SLICE%.slice}.service
topology_up
trap 'cgroups_gone; topology_down' EXIT
servers_up
mkdir -p "$TMP/run" && chmod 755 "$TMP"
write_service
host_state >"$TMP/state"
mine
for part in ${PARTS:-restarted unlooked neighbours unit}; do
	$part
done
in_host nft delete table inet mine
host_state >"$TMP/after"
is "nothing is left" "$(diff "$TMP/state" "$TMP/after")" ""
done_testing
