# SPDX-License-Identifier: MIT
# attrib.sh - destinations for tests/bench/attrib.c behind the topology, and the comparison of what
# its programs knew of themselves with a flow log; sourced after topology.sh.

ATTRIB_PORT=7301

attrib_up() {
	local ns
	ip -n $NET route add local 10.90.0.0/16 dev lo
	ip -n $NET route add local fd90::/32 dev lo
	ip -n $ROUTER route add 10.90.0.0/16 via $PLAIN4
	ip -n $ROUTER route add fd90::/32 via $PLAIN6
	for ns in $HOST $NET; do
		nsenter --net=/run/netns/$ns sysctl -qw net.ipv4.ping_group_range="0 2147483647"
	done
	start_ready "$TMP/serve.log" in_net "$B/tests/bench/attrib" serve $ATTRIB_PORT
	# a copy with the setuid bit, of an ordinary user
	cp "$B/tests/bench/attrib" "$TMP/attrib-suid"
	chmod 755 "$TMP"
	chown 2002 "$TMP/attrib-suid"
	chmod 4755 "$TMP/attrib-suid"
}

# io_uring may be forbidden, and user namespaces
attrib_kinds() {
	local k
	for k in $("$B/tests/bench/attrib" kinds); do
		case $k in
		io_uring) [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null)" = 0 ] || continue ;;
		container) unshare -U true 2>/dev/null || continue ;;
		esac
		echo $k
	done
}

# attrib_run NAME N PARALLEL [OPTION]...: truth in $TMP/NAME.truth, flow log in $TMP/NAME.json
attrib_run() {
	local name=$1 n=$2 parallel=$3
	shift 3
	rm -f "$TMP/$name.truth" "$TMP/$name.json"
	ATTRIB_SUID=$TMP/attrib-suid weir_run -q --log "$TMP/$name.json" "$@" -- \
		"$B/tests/bench/attrib" launch "$n" "$parallel" $ATTRIB_PORT "$TMP/$name.truth" $(attrib_kinds)
}

# attrib_judge NAME...: a table, one column a run: right, wrong, unknown processes and wrong uids of each
# kind; then a line "TOTAL NAME flows=N right=N wrong=N unknown=N baduid=N nouid=N missing=N"
attrib_judge() {
	python3 - "$TMP" "$@" <<-'PY'
	import collections, ipaddress, json, os, sys
	tmp, names = sys.argv[1], sys.argv[2:]
	tick = 10**9 // os.sysconf("SC_CLK_TCK")
	cells, kinds, why, wrongs = {}, [], collections.Counter(), []
	for name in names:
	    log = {}
	    for line in open(f"{tmp}/{name}.json"):
	        f = json.loads(line)
	        log.setdefault(str(ipaddress.ip_address(f["dest_ip"])), []).append(f["weir"]["owner"])
	    for line in open(f"{tmp}/{name}.truth"):
	        dest, kind, pid, start, uid, comm = line.rstrip("\n").split(" ", 5)
	        c = cells.setdefault((name, kind), collections.Counter())
	        if kind not in kinds:
	            kinds.append(kind)
	        owners = log.get(str(ipaddress.ip_address(dest)), [])
	        c["missing"] += not owners
	        for o in owners:
	            c["flows"] += 1
	            c["nouid" if "uid" not in o else "right_uid" if o["uid"] == int(uid) else "baduid"] += 1
	            if "pid" not in o:
	                c["unknown"] += 1
	                why[name, kind, o["why"]] += 1
	            elif o["pid"] == int(pid) and o["start"] == int(start) * tick:
	                c["right"] += 1
	                c["comm"] += o["comm"] == comm
	                c["exe"] += bool(o.get("exe"))
	                c["cmdline"] += bool(o.get("cmdline"))
	            else:
	                c["wrong"] += 1
	                wrongs.append((name, kind, line, json.dumps(o)))
	print("| kind | " + " | ".join(f"{n}: right / unknown / wrong | uid right / unknown / wrong" for n in names) + " |")
	print("|---|" + "---|---|" * len(names))
	for kind in kinds:
	    row = [kind]
	    for name in names:
	        c = cells.get((name, kind), collections.Counter())
	        row += [f"{c['right']} / {c['unknown']} / {c['wrong']}",
	                f"{c['right_uid']} / {c['nouid']} / {c['baduid']}"]
	    print("| " + " | ".join(row) + " |")
	for name in names:
	    t = sum((c for (n, _), c in cells.items() if n == name), collections.Counter())
	    print("TOTAL", name, *(f"{k}={t[k]}" for k in ("flows", "right", "unknown", "wrong", "right_uid",
	          "nouid", "baduid", "missing", "comm", "exe", "cmdline")))
	for (name, kind, reason), n in sorted(why.items()):
	    print(f"# {name} {kind}: {n} unknown, {reason}")
	for w in wrongs[:10]:
	    print("# WRONG", *w)
	PY
}
