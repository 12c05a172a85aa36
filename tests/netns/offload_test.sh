#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the device takes and gives: checksums and segmentation are left to it, in both directions. No
# network is needed but the two ends: COMMAND in weir's namespace, a server in the host's.
#
#   host namespace:  up0 10.87.0.2/24 (default route), server on 127.0.0.1 as 10.87.0.9 inside
. "$(dirname "$0")/lib.sh"
command -v ethtool >/dev/null || skip_all "needs ethtool"

HOST=weiro-$$
netns_new "$HOST" || skip_all "no network namespaces here"
in_ns "$HOST" ip link set lo up
in_ns "$HOST" ip link add up0 type veth peer name up1
in_ns "$HOST" ip link set up0 up
in_ns "$HOST" ip link set up1 up
in_ns "$HOST" ip addr add 10.87.0.2/24 dev up0
in_ns "$HOST" ip route add default via 10.87.0.1

features=$(run root -- ethtool -k weir0 2>/dev/null)
has() { like "$features" "^[[:space:]]*$1: on" "$2"; }
has tx-checksum-ip-generic "checksums are the device's"
has tx-tcp-segmentation "TCP segmentation, IPv4, is the device's"
has tx-tcp6-segmentation "TCP segmentation, IPv6, is the device's"
if [ "$(printf '6.2\n%s\n' "$(uname -r)" | sort -V | head -1)" = 6.2 ]; then
	has tx-udp-segmentation "UDP segmentation is the device's"
else
	skip "UDP segmentation is the device's" "a kernel before 6.2"
fi

# mean PACKETS BYTES: bytes of a packet that crossed the device
cat >"$TMP/bulk.py" <<'PY'
import socket, sys, threading
SIZE = 8 << 20
def counters():
    for line in open("/proc/net/dev"):
        if line.strip().startswith("weir0:"):
            f = line.split(":")[1].split()
            return [int(f[i]) for i in (0, 1, 8, 9)]
if sys.argv[1] == "server":
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 8000))
    s.listen()
    print("ready", flush=True)
    while True:
        c, _ = s.accept()
        def serve(c=c):
            way = c.recv(1)
            if way == b"d":
                c.sendall(bytes(SIZE))
            else:
                n = 0
                while n < SIZE:
                    n += len(c.recv(1 << 20))
                c.sendall(b"!")
            c.close()
        threading.Thread(target=serve, daemon=True).start()
before = counters()
c = socket.create_connection(("10.87.0.9", 8000))
c.sendall(sys.argv[1].encode())
if sys.argv[1] == "u":
    c.sendall(bytes(SIZE))
    assert c.recv(1) == b"!"
else:
    n = 0
    while n < SIZE:
        n += len(c.recv(1 << 20))
after = counters()
d = [a - b for a, b in zip(after, before)]
# received by the namespace is down; sent is up
print(d[0] // max(d[1], 1) if sys.argv[1] == "d" else d[2] // max(d[3], 1))
PY
in_ns "$HOST" python3 "$TMP/bulk.py" server >"$TMP/server" &
server=$!
wait_for 5 grep -q ready "$TMP/server"
for way in u d; do
	mean=$(run root --host-loopback 10.87.0.9 -- timeout 60 python3 "$TMP/bulk.py" $way)
	name="up"
	[ $way = u ] || name="down"
	ok $((${mean:-0} < 8000)) "$name: packets far larger than the MTU cross the device"
	diag "$name: $mean bytes a packet"
done
kill $server
wait $server 2>/dev/null
done_testing
