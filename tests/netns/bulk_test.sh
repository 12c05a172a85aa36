#!/bin/bash
# SPDX-License-Identifier: MIT
# One gigabyte each way, compared by SHA-256: IPv4 whole, IPv6 a quarter of it (BULK_BYTES sets
# another size). Nothing is stored: the stream is AES-CTR of zeros. topology.sh has the drawing.
. "$(dirname "$0")/topology.sh"

LIMIT=900
BYTES=${BULK_BYTES:-1073741824}

stream() { # BYTES
	openssl enc -aes-128-ctr -K 000102030405060708090a0b0c0d0e0f \
		-iv 00000000000000000000000000000000 -in /dev/zero 2>/dev/null | head -c "$1"
}

listening() { in_net ss -ltnH "sport = :$1" | grep -q .; }

upload() { # NAME ADDRESS FAMILY BYTES PORT
	local want got
	want=$(stream "$4" | sha256sum)
	in_net socat -u TCP$3-LISTEN:$5,reuseaddr STDOUT | sha256sum >"$TMP/sum$5" &
	local server=$!
	wait_for 5 listening $5
	stream "$4" | via_weir nc -N "$2" $5
	wait_for 30 test -s "$TMP/sum$5"
	wait $server
	got=$(cat "$TMP/sum$5")
	is "$1, $(($4 >> 20)) MiB" "$got" "$want"
}

download() { # NAME ADDRESS FAMILY BYTES PORT
	local want got
	want=$(stream "$4" | sha256sum)
	stream "$4" | in_net socat -u STDIN TCP$3-LISTEN:$5,reuseaddr &
	local server=$!
	wait_for 5 listening $5
	got=$(via_weir nc -d "$2" $5 | sha256sum)
	wait $server
	is "$1, $(($4 >> 20)) MiB" "$got" "$want"
}

need_weir
topology_up
upload "up" $EXTRA4 4 "$BYTES" 5001
download "down" $EXTRA4 4 "$BYTES" 5002
upload "up, IPv6" $EXTRA6 6 $((BYTES / 4)) 5003
download "down, IPv6" $EXTRA6 6 $((BYTES / 4)) 5004
done_testing
