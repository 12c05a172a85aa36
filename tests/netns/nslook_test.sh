#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Look-ups where the host's resolver listens on loopback or on the host's own address.
#
#   host namespace, with an /etc/resolv.conf of its own      inside
#   +----------------------------------------------+        +---------------------------+
#   | up0 10.90.0.2/24, default via 10.90.0.1      |        | weir0 10.90.0.2/24        |
#   | resolver (python3) on 127.0.0.53, ::1 and    | <----- | the same addresses, bound |
#   |   10.90.0.2, port 53, UDP and TCP            |        | by weir, port 53          |
#   +----------------------------------------------+        +---------------------------+
. "$(dirname "$0")/lib.sh"

HOST=weird-$$
netns_new "$HOST" || skip_all "no network namespaces here"
in_ns "$HOST" ip link set lo up
in_ns "$HOST" ip link add up0 type veth peer name up1
in_ns "$HOST" ip link set up0 up
in_ns "$HOST" ip link set up1 up
in_ns "$HOST" ip addr add 10.90.0.2/24 dev up0
in_ns "$HOST" ip addr add fd90::2/64 dev up0 nodad
in_ns "$HOST" ip route add default via 10.90.0.1 dev up0
in_ns "$HOST" ip -6 route add default via fd90::1 dev up0

cat >"$TMP/resolver.py" <<'EOF'
import socket, struct, sys, threading
# NAME.test A: 198.51.100.7; big.test only fits TCP
def answer(q, tcp):
    end = q.index(b"\0", 12) + 5
    qtype = struct.unpack("!H", q[end - 4:end - 2])[0]
    big = q[12:].startswith(b"\x03big")
    if big and not tcp:
        return q[:2] + b"\x83\x80" + q[4:6] + b"\0" * 6 + q[12:end]
    n = 0 if qtype != 1 else 60 if big else 1
    rr = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([198, 51, 100, 7 + i]) for i in range(n))
    return q[:2] + b"\x81\x80" + q[4:6] + struct.pack("!H", n) + b"\0" * 4 + q[12:end] + rr
def udp(f, a):
    s = socket.socket(f, socket.SOCK_DGRAM)
    s.bind((a, 53))
    while True:
        q, peer = s.recvfrom(4096)
        s.sendto(answer(q, False), peer)
def tcp(f, a):
    s = socket.socket(f)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((a, 53))
    s.listen(16)
    while True:
        c, _ = s.accept()
        d = c.recv(4096)
        if len(d) == 2:
            d += c.recv(4096)
        if len(d) > 2:
            r = answer(d[2:], True)
            c.sendall(struct.pack("!H", len(r)) + r)
        c.close()
for a in ("127.0.0.53", "::1", "10.90.0.2"):
    f = socket.AF_INET6 if ":" in a else socket.AF_INET
    for fn in (udp, tcp):
        threading.Thread(target=fn, args=(f, a)).start()
open(sys.argv[1], "w").close()
EOF
in_ns "$HOST" python3 "$TMP/resolver.py" "$TMP/up" &
disown
wait_for 5 test -e "$TMP/up" || skip_all "the test's resolver does not start"

# with RESOLV_CONF COMMAND...: with these lines as /etc/resolv.conf, in a mount namespace
# that has made-up resolver sockets as well
cat >"$TMP/with" <<'EOF'
#!/bin/sh
tmp=$1 conf=$2
shift 2
touch /etc/resolv.conf 2>/dev/null
printf '%b' "$conf" >"$tmp/share/resolv.conf"
mount --bind "$tmp/share/resolv.conf" /etc/resolv.conf
printf 'hosts: files dns\n' >"$tmp/share/nsswitch.conf"
mount --bind "$tmp/share/nsswitch.conf" /etc/nsswitch.conf
mount -t tmpfs none /run && mkdir -p /run/systemd/resolve /run/nscd
python3 -c 'import socket, sys
for p in sys.argv[1:]: socket.socket(socket.AF_UNIX).bind(p)' \
	/run/systemd/resolve/io.systemd.Resolve /run/nscd/socket
chmod 666 /run/nscd/socket /run/systemd/resolve/io.systemd.Resolve
exec "$@"
EOF
chmod 755 "$TMP/with"
with() {
	local who=$1 conf=$2 PRE
	shift 2
	prefix $who
	nsenter "--net=/run/netns/$HOST" -- unshare -m --propagation private -- \
		"$TMP/with" "$TMP" "$conf" "${PRE[@]}" "$@"
}
LOOK='import socket, sys
try:
    print(" ".join(sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 80, socket.AF_INET)})))
except OSError as e:
    print(e)'

for who in root user; do
	for conf in 'nameserver 127.0.0.53\n' 'nameserver ::1\n' 'nameserver 10.90.0.2\n' \
		    '# first\nsearch example.org\n\tnameserver 9.9.9.9\nnameserver\t127.0.0.53 # stub\noptions timeout:2\n'; do
		is "$(with $who "$conf" "$WEIR" run -q -- python3 -c "$LOOK" name.test 2>&1)" 198.51.100.7 "$who: look-up with \"${conf//$'\n'/ }\""
	done
	is "$(with $who 'nameserver 127.0.0.53\n' "$WEIR" run -q -- python3 -c "$LOOK" big.test 2>&1 | wc -w)" 60 "$who: an answer that needs TCP"
	is "$(with $who 'nameserver 127.0.0.53\n' "$WEIR" run -q -- sh -c 'cat /etc/resolv.conf; grep -c resolv.conf /proc/self/mountinfo')" \
	   "$(printf 'nameserver 127.0.0.53\n1')" "$who: resolv.conf is the host's own, not covered"
	is "$(with $who 'nameserver 127.0.0.53\n' "$WEIR" run -q -- sh -c 'stat -c %F /run/systemd/resolve/io.systemd.Resolve /run/nscd/socket' | sort -u)" \
	   "character special file" "$who: sockets of resolvers are masked"
	is "$(with $who 'nameserver 127.0.0.53\n' sh -c "$WEIR run -q -- true; stat -c %F /run/nscd/socket")" socket "$who: ... inside only"
	like "$(with $who 'nameserver fe80::1%up0\n' "$WEIR" run -q -- cat /etc/resolv.conf 2>&1)" \
		'nameserver fd77:6569:7253:' "$who: a link-local resolver has another name inside"
	# changed while COMMAND runs, as DHCP clients do: the first resolver is not bound inside
	change="printf 'nameserver ::1\\nnameserver 127.0.0.53\\n' >$TMP/share/resolv.conf; grep -c ::1 /etc/resolv.conf"
	chmod 666 "$TMP/share/resolv.conf"
	is "$(with $who 'nameserver 127.0.0.53\n' "$WEIR" run -q -- sh -c "$change; python3 -c '$LOOK' name.test" 2>&1)" \
	   $'1\n198.51.100.7' "$who: a changed resolv.conf is seen inside"
done
done_testing
