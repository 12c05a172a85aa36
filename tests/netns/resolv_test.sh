#!/bin/bash
# SPDX-License-Identifier: MIT
# A resolv.conf that changes while COMMAND runs, and one that names a link-local resolver.
# topology.sh has the drawing; in addition
#
#   $HOST: resolvers at 127.0.0.53 and ::1 (zone "old"), 127.0.0.77 (zone "new")
#   $ROUTER: a resolver at fe80::53 on the link to $HOST's h0 (zone "link")
#
# Each answers who.test with an address of its own. weir sees $TMP/etc as /etc, so that files are
# replaced there from outside as their managers do it. COMMAND is a shell that does what stands in
# the pipe $TMP/ask and writes to $TMP/answer.
. "$(dirname "$0")/topology.sh"

OLD=192.0.2.53 NEW=192.0.2.77 LINK=192.0.2.99

# become_who: the shell code that makes $WHO of root; a user may open the device
become_who() {
	cat <<-'SH'
		[ "$WHO" = root ] && exec "$@"
		mount --bind "$TMP/tun" /dev/net/tun
		exec setpriv --reuid 2001 --regid 2001 --clear-groups --inh-caps=-all "$@"
	SH
}

# conf TEXT: replaced by a rename, as managers do it
conf() {
	printf "$1" >"$TMP/etc/resolv.conf.new"
	mv "$TMP/etc/resolv.conf.new" "$TMP/etc/resolv.conf"
}

# weir_up [OPTION]...: COMMAND waits for questions
weir_up() {
	rm -f "$TMP/ask" "$TMP/answer" "$TMP/err"
	mkfifo -m 666 "$TMP/ask" "$TMP/answer"
	export TMP WEIR WHO SETUP
	setsid nsenter --net=/run/netns/$HOST unshare -m --propagation private bash -c '
		mount --bind "$TMP/etc" /etc && eval "${SETUP:-. \"\$TMP/as\"}"' sh \
		"$WEIR" run "${QUIET--q}" "$@" -- bash -c '
			while read -r line <"$0/ask"; do bash -c "$line" >"$0/answer" 2>&1; done' "$TMP" \
		2>"$TMP/err" </dev/null &
	RUN=$!
	BG+=($RUN)
	asked true || not_ok "weir runs ($WHO)" "$(cat "$TMP/err")"
}

weir_down() {
	echo exit >"$TMP/ask" &
	timeout 5 cat "$TMP/answer" >/dev/null
	kill $RUN 2>/dev/null
	wait $RUN 2>/dev/null
}

# asked COMMAND: done inside, its output here
asked() {
	echo "$1" | timeout 10 tee "$TMP/ask" >/dev/null && timeout 20 cat "$TMP/answer"
}

who() { asked "getent ahostsv4 who.test" | sed -n '1s/ .*//p'; }
who_is() { [ "$(who)" = "$1" ]; }

# becomes NAME WANT: soon getent says so
becomes() {
	wait_for 5 who_is "$2"
	is "$1" "$(who)" "$2"
}


dig_all() { # NAME SERVER WANT
	is "$1, UDP" "$(asked "dig +short +tries=1 +time=3 $2 who.test")" "$3"
	is "$1, TCP" "$(asked "dig +short +tries=1 +time=3 +tcp $2 who.test")" "$3"
}

replaced() {
	conf "nameserver 127.0.0.53\n"
	weir_up
	is "$WHO: the resolver of the start" "$(who)" $OLD
	conf "nameserver 127.0.0.77\n"
	becomes "$WHO: resolv.conf renamed over" $NEW
	dig_all "$WHO: a resolver that came later" @127.0.0.77 $NEW
	dig_all "$WHO: the one before is still there" @127.0.0.53 $OLD
	printf "nameserver ::1\n" >"$TMP/etc/resolv.conf"
	becomes "$WHO: resolv.conf written in place, IPv6" $OLD
	dig_all "$WHO: a resolver at ::1" @::1 $OLD
	conf "nameserver 127.0.0.77\n"
	wait_for 5 who_is $NEW
	kill -9 "$(worker_of)"
	becomes "$WHO: after the worker's kill -9" $NEW
	dig_all "$WHO: after it, the later resolver" @127.0.0.77 $NEW
	weir_down
}

missing_and_linked() {
	rm -f "$TMP/etc/resolv.conf"
	mkdir -p "$TMP/etc/a"
	weir_up
	conf "nameserver 127.0.0.77\n"
	becomes "$WHO: resolv.conf missing at the start" $NEW
	weir_down
	printf "nameserver 127.0.0.53\n" >"$TMP/etc/a/stub"
	ln -sfn a/stub "$TMP/etc/resolv.conf"
	weir_up
	is "$WHO: behind a symbolic link" "$(who)" $OLD
	printf "nameserver 127.0.0.77\n" >"$TMP/etc/a/new"
	mv "$TMP/etc/a/new" "$TMP/etc/a/stub"
	becomes "$WHO: the link's target renamed over" $NEW
	weir_down
	printf "nameserver 127.0.0.53\n" >"$TMP/etc/a/stub"
	weir_up
	ln -s b/deep/stub "$TMP/etc/resolv.new"
	mv -T "$TMP/etc/resolv.new" "$TMP/etc/resolv.conf"
	for d in b b/deep; do
		sleep 0.2 # each step is seen by itself
		mkdir "$TMP/etc/$d"
	done
	sleep 0.2
	printf "nameserver 127.0.0.77\n" >"$TMP/etc/b/deep/stub"
	becomes "$WHO: the link switched to a directory that came later" $NEW
	weir_down
	rm -rf "$TMP/etc/resolv.conf" "$TMP/etc/a" "$TMP/etc/b"
}

link_local() {
	conf "search example.test\nnameserver fe80::53%%h0 # router\noptions timeout:2\n"
	install -m 666 /dev/null "$TMP/log.json"
	weir_up --log "$TMP/log.json"
	is "$WHO: a link-local resolver" "$(who)" $LINK
	dig_all "$WHO: link-local" "" $LINK
	like "$WHO: the rest of resolv.conf is kept" "$(asked 'cat /etc/resolv.conf')" \
		$'^search example.test\nnameserver fd77:[0-9a-f:]* # router\noptions timeout:2$'
	like "$WHO: the copy cannot be written" \
		"$(asked 'echo x >>/etc/resolv.conf || echo refused')" refused
	is "$WHO: the host's file is what it was" "$(grep -c fe80::53%h0 "$TMP/etc/resolv.conf")" 1
	conf "search example.test\nnameserver fe80::53%%h0 # router\noptions timeout:2\n"
	sleep 0.3
	becomes "$WHO: link-local, the same text renamed over" $LINK
	printf "nameserver 127.0.0.77\n" >"$TMP/etc/resolv.conf"
	becomes "$WHO: link-local no more" $NEW
	is "$WHO: no copy any more" "$(asked 'cat /etc/resolv.conf')" "nameserver 127.0.0.77"
	conf "nameserver fe80::53%%h0\nnameserver 127.0.0.53\n"
	becomes "$WHO: link-local again" $LINK
	kill -9 "$(worker_of)"
	becomes "$WHO: link-local after the worker's kill -9" $LINK
	dig_all "$WHO: link-local after it" "" $LINK
	weir_down
	check "$WHO: its look-ups are flows with an owner" python3 "$TOP/tests/lib/eve.py" "$TMP/log.json" \
		"all(any(f.dest_ip.startswith('fd77:6569:7253:') and f.proto == p and
		f.weir.owner.exe.endswith('dig') and f.flow.bytes_toclient > 0 for f in flows)
		for p in ('UDP', 'TCP'))"
	is "$WHO: no file is left" "$(ls /dev/shm /tmp /run | grep -c weir-resolv)" 0
}

link_local_later() {
	conf "nameserver 127.0.0.53\n"
	QUIET=--linger=1 weir_up
	conf "nameserver fe80::53%%h0\n"
	if [ "$WHO" = user ]; then
		becomes "$WHO: a link-local resolver that came later" $LINK
	else
		check "$WHO: what can't be is said" wait_for 5 grep -q "link-local.*mount namespace" "$TMP/err"
	fi
	weir_down
}

# forbidden: the administrator allows no mount namespaces
forbidden() {
	conf "nameserver fe80::53%%h0\nnameserver 127.0.0.53\noptions timeout:1 attempts:1\n"
	SETUP="exec unshare -rU sh -c 'echo 0 >/proc/sys/user/max_mnt_namespaces && exec \"\$@\"' sh \"\$@\""
	QUIET=--linger=1 weir_up
	unset SETUP
	check "no mount namespace: said" wait_for 5 grep -q "link-local.*mount namespace" "$TMP/err"
	is "... in one line" "$(grep -c weir: "$TMP/err")" 1
	is "... and the other resolvers work" "$(who)" $OLD
	weir_down
}

# worker_of: the worker is the child of the supervisor in a session of its own
worker_of() {
	local sup pid
	for pid in $(ip netns pids $HOST); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = weir ] || continue
		sup=$(awk '{print $4}' "/proc/$pid/stat")
		[ "$(cat "/proc/$sup/comm" 2>/dev/null)" = weir ] && echo "$pid"
	done
}

need_weir
topology_up
chmod 755 "$TMP"
cp -a /etc "$TMP/etc"
chmod 755 "$TMP/etc"
rm -f "$TMP/etc/resolv.conf"
sed -i '/^hosts:/d' "$TMP/etc/nsswitch.conf" 2>/dev/null
echo "hosts: dns" >>"$TMP/etc/nsswitch.conf"
become_who >"$TMP/as"
mknod -m 666 "$TMP/tun" c 10 200
ip -n $ROUTER addr add fe80::53/64 dev r0 nodad
start_ready "$TMP/old.log" in_host python3 "$TOP/tests/lib/dnsd.py" 127.0.0.53,::1 53 who.test=A:$OLD
start_ready "$TMP/new.log" in_host python3 "$TOP/tests/lib/dnsd.py" 127.0.0.77 53 who.test=A:$NEW
start_ready "$TMP/link.log" in_router python3 "$TOP/tests/lib/dnsd.py" fe80::53%r0 53 who.test=A:$LINK
for WHO in root user; do
	replaced
	missing_and_linked
	link_local
	link_local_later
done
WHO=user forbidden
done_testing
