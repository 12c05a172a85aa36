#!/bin/bash
# SPDX-License-Identifier: MIT
# Real programs through weir; topology.sh has the drawing. Each command is first run directly:
# when that fails the test is the one that is wrong, and says so.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/nginx.sh"

# same NAME WANT COMMAND...: both ways print what WANT (a regex) says
same() {
	local name=$1 want=$2 direct weir
	shift 2
	direct=$(in_host "$@" 2>"$TMP/err" </dev/null | tr '\n' ' ')
	direct=${direct% }
	if ! [[ $direct =~ $want ]]; then
		not_ok "$name: without weir" "$direct"$'\n'"$(tail -3 "$TMP/err")"
		return
	fi
	weir=$(via_weir "$@" 2>"$TMP/err" </dev/null | tr '\n' ' ')
	weir=${weir% }
	like "$name" "$weir$([[ $weir =~ $want ]] || tail -3 "$TMP/err")" "$want"
}

web() {
	local curl="curl -s --max-time 20 --cacert $TMP/cert.pem"
	same "curl, HTTP/1.1" "^hello from nginx 1.1 200$" \
		$curl -w '%{http_version} %{http_code}' http://$PLAIN4:8080/hello
	same "curl, HTTP/1.1 over IPv6" "^hello from nginx 1.1 200$" \
		$curl -w '%{http_version} %{http_code}' "http://[$PLAIN6]:8080/hello"
	same "curl, HTTP/2 with TLS" "^hello from nginx 2 200$" $curl --http2 \
		--resolve weir.test:8443:$PLAIN4 -w '%{http_version} %{http_code}' \
		https://weir.test:8443/hello
	same "curl, HTTP/2 with TLS over IPv6" "^hello from nginx 2 200$" $curl --http2 \
		-w '%{http_version} %{http_code}' "https://[$PLAIN6]:8443/hello"
	same "curl, many streams in one HTTP/2 connection" "^(200 ){5}200$" $curl --http2 \
		--parallel -w '%{http_code} ' --resolve weir.test:8443:$PLAIN4 \
		$(for s in 1 100 1460 5000 40000 300000; do
			echo "-o /dev/null https://weir.test:8443/part$s"
		done)
	same "curl, refused is exit status 7" "^7$" \
		sh -c "curl -s http://$PLAIN4:7099/; echo \$?"
	same "openssl s_client" "Verify return code: 0" sh -c \
		"echo Q | openssl s_client -connect $PLAIN4:8443 -CAfile $TMP/cert.pem 2>&1"
	same "a browser's burst, three hosts, both families" "^requests 900 good 900$" \
		python3 "$TOP/tests/lib/burst.py" 8080 \
		$PLAIN4 $DELAYED4 $EXTRA4 $PLAIN6 $DELAYED6 $EXTRA6
}

clone() { # URL
	sh -c 'rm -rf "$1" && git clone -q "$2" "$1" && git -C "$1" rev-parse HEAD' \
		sh "$TMP/clone" "$1"
}

git_over_http() {
	local head
	head=$(git -C "$TMP/work" rev-parse HEAD)
	export -f clone
	export TMP
	same "git clone over HTTP" "^$head$" bash -c "clone http://$PLAIN4:8080/repo.git"
	same "git clone over HTTP, smart server" "^$head$" \
		bash -c "clone http://$EXTRA4:8090/cgi-bin/git/repo.git"
}

git_server_up() {
	mkdir -p "$TMP/smart/cgi-bin"
	cat >"$TMP/smart/cgi-bin/git" <<-CGI
	#!/bin/sh
	export GIT_PROJECT_ROOT=$TMP/www GIT_HTTP_EXPORT_ALL=1
	exec git http-backend
	CGI
	chmod +x "$TMP/smart/cgi-bin/git"
	chmod -R a+rX "$TMP"
	git config --file "$TMP/gitconfig" --add safe.directory '*'
	export GIT_CONFIG_GLOBAL=$TMP/gitconfig
	(cd "$TMP/smart" && in_net python3 -m http.server --cgi --bind $EXTRA4 8090) \
		>"$TMP/smart.log" 2>&1 &
	BG+=($!)
	wait_for 10 in_host curl -s http://$EXTRA4:8090/
}

iperf() {
	in_net iperf3 -s -B $EXTRA4 -p 5201 >/dev/null 2>&1 &
	BG+=($!)
	in_net iperf3 -s -B $EXTRA6 -p 5201 >/dev/null 2>&1 &
	BG+=($!)
	wait_for 10 in_net sh -c "ss -ltn | grep -q '$EXTRA4:5201'"
	local c="iperf3 -t 2 -p 5201 -J -c"
	local done='"end":.*"sum_received"'
	same "iperf3 up" "$done" $c $EXTRA4
	same "iperf3 down" "$done" $c $EXTRA4 -R
	same "iperf3, eight streams down, IPv6" "$done" $c $EXTRA6 -R -P 8
	# far below the rate at which a busy machine loses datagrams by itself
	same "iperf3 UDP up" "loss [01]$" sh -c "$c $EXTRA4 -u -b 10M | python3 -c '
import json, sys
print(\"loss\", round(json.load(sys.stdin)[\"end\"][\"sum\"][\"lost_percent\"]))'"
	same "iperf3 UDP down" "loss [01]$" sh -c "$c $EXTRA4 -u -R -b 10M | python3 -c '
import json, sys
print(\"loss\", round(json.load(sys.stdin)[\"end\"][\"sum\"][\"lost_percent\"]))'"
}

dig_both() {
	start_ready "$TMP/dns.log" in_net python3 "$TOP/tests/lib/dnsd.py" $EXTRA4,$EXTRA6 53 \
		www.test=CNAME:real.test real.test=A:$PLAIN4 real.test=AAAA:$PLAIN6 \
		big.test=BIG:3000
	local dig="dig +short +tries=1 +timeout=3"
	same "dig, UDP" "real.test.*$PLAIN4" $dig @$EXTRA4 www.test A
	same "dig, UDP over IPv6" "$PLAIN6" $dig @$EXTRA6 real.test AAAA
	same "dig, TCP" "real.test.*$PLAIN4" $dig +tcp @$EXTRA4 www.test A
	same "dig, truncated, again over TCP" "x{200}" $dig @$EXTRA4 big.test TXT
	same "dig, no such name" "NXDOMAIN" dig +tries=1 @$EXTRA4 nothing.test
}

ssh_up() {
	ssh-keygen -q -t ed25519 -N '' -f "$TMP/hostkey"
	ssh-keygen -q -t ed25519 -N '' -f "$TMP/userkey"
	cp "$TMP/userkey.pub" "$TMP/authorized"
	mkdir -p /run/sshd
	chmod 755 "$TMP"
	in_net /usr/sbin/sshd -D -e -f /dev/null -h "$TMP/hostkey" -p 2222 -o ListenAddress=$EXTRA4 \
		-o AuthorizedKeysFile="$TMP/authorized" -o StrictModes=no -o UsePAM=no \
		-o PermitRootLogin=yes -o PidFile=none >"$TMP/sshd.log" 2>&1 &
	BG+=($!)
	wait_for 10 in_net sh -c "ss -ltn | grep -q ':2222'"
}

ssh_copy() {
	ssh_up
	local sum ssh
	head -c 5000000 /dev/urandom >"$TMP/data"
	sum=$(sha256sum <"$TMP/data")
	ssh="ssh -T -i $TMP/userkey -p 2222 -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR"
	ssh="$ssh -o UserKnownHostsFile=/dev/null root@$EXTRA4"
	same "ssh, five megabytes up" "^${sum%% *}" sh -c "$ssh sha256sum <$TMP/data"
	same "ssh, five megabytes down" "^${sum%% *}" sh -c "$ssh cat $TMP/data | sha256sum"
	same "ssh, exit status" "^23$" sh -c "$ssh exit 23; echo \$?"
}

half_close() {
	head -c 100000 /dev/urandom >"$TMP/data"
	same "nc -N: answer after half-close" "^100000 [0-9a-f]{8}$" \
		sh -c "nc -N -w 10 $PLAIN4 7002 <$TMP/data"
	same "nc -N: answer after half-close, IPv6" "^100000 [0-9a-f]{8}$" \
		sh -c "nc -N -w 10 $PLAIN6 7002 <$TMP/data"
}

parallel() {
	ulimit -n 10000
	same "2000 connections at once" "^opened 2000 echoed 2000 errors: none$" \
		python3 "$TOP/tests/lib/many.py" 2000 7001 $PLAIN4 $PLAIN6
}

path_tools() {
	same "ping" " 0% packet loss" ping -c 3 -i 0.2 -W 2 $PLAIN4
	same "ping, IPv6" " 0% packet loss" ping -c 3 -i 0.2 -W 2 $PLAIN6
	same "traceroute, UDP" "10.77.0.1.*10.78.0.2" traceroute -n -q 1 -w 2 -m 4 $PLAIN4
	same "mtr" "10.77.0.1.*10.78.0.2" mtr -n -r -c 1 -m 4 $PLAIN4
}

need_weir
need_tools tests/lib/peer tests/lib/hostile
topology_up
servers_up
nginx_up
git_server_up
web
git_over_http
iperf
dig_both
ssh_copy
half_close
parallel
path_tools
done_testing
