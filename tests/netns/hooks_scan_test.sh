#!/bin/bash
# SPDX-License-Identifier: MIT
# match, yara, dump and hexlog on what curl, nginx and dig exchange; topology.sh has the drawing.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/nginx.sh"

# with HOOK COMMAND...: through weir with one hook; the log is in $TMP/log
with() {
	local hook=$1
	shift
	rm -f "$TMP/log"
	in_host "$WEIR" run -q --log "$TMP/log" --hook "$hook" -- "$@"
}

# event TYPE FIELD: of the first event of this type
event() {
	python3 - "$TMP/log" "$1" "$2" <<'PY'
import json, sys
for line in open(sys.argv[1]):
    o = json.loads(line)
    if o["event_type"] == sys.argv[2]:
        print(o[sys.argv[2]][sys.argv[3]], o["weir"]["owner"]["comm"])
        break
PY
}

eicar() {
	# The test file of EICAR, in two parts here so that this script is none.
	printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-' 'ANTIVIRUS-TEST-FILE!$H+H*'
}

yara_eicar() {
	eicar >"$TMP/www/eicar.com"
	gzip -k "$TMP/www/eicar.com"
	head -c 3000000 /dev/zero >"$TMP/www/big"
	cat >"$TMP/eicar.yar" <<-'YAR'
	rule eicar
	{
		strings:
			$a = "EICAR-STANDARD-ANTIVIRUS-TEST-FILE"
		condition:
			$a and direction == "down" and comm == "curl"
	}
	YAR
	is "EICAR without weir" "$(in_host curl -s http://$PLAIN4:8080/eicar.com)" "$(eicar)"
	is "EICAR over HTTP does not arrive" \
		"$(with yara="$TMP/eicar.yar" curl -s http://$PLAIN4:8080/eicar.com; echo " $?")" " 56"
	is "the log says which rule, and whose flow it was" "$(event yara rule)" "eicar curl"
	is "nor over IPv6" \
		"$(with yara="$TMP/eicar.yar" curl -s "http://[$PLAIN6]:8080/eicar.com"; echo " $?")" " 56"
	is "with on=alert it arrives" \
		"$(with "yara=$TMP/eicar.yar,on=alert" curl -s http://$PLAIN4:8080/eicar.com)" "$(eicar)"
	is "and is in the log" "$(event yara action)" "alert curl"
	is "what is packed is unpacked: no file of it is left whole" "$(with yara="$TMP/eicar.yar" \
		sh -c "curl -s -H 'Accept-Encoding: gzip' http://$PLAIN4:8090/gz | gunzip -c 2>/dev/null | wc -c")" 0
	is "another file of 3 MB arrives" "$(with yara="$TMP/eicar.yar" \
		sh -c "curl -s http://$PLAIN4:8080/big | wc -c")" 3000000
	like "a file with an error is refused with status 2" \
		"$(echo 'rule x {' >"$TMP/bad.yar"; with yara="$TMP/bad.yar" true 2>&1; echo "status $?")" \
		"bad.yar: line .*status 2"
}

# gzip_up: a server that sends the packed file with its Content-Encoding
gzip_up() {
	cat >"$TMP/gz.py" <<-'PY'
	import http.server, sys
	class H(http.server.BaseHTTPRequestHandler):
	    protocol_version = "HTTP/1.1"
	    def do_GET(self):
	        body = open(sys.argv[2], "rb").read()
	        self.send_response(200)
	        self.send_header("Content-Encoding", "gzip")
	        self.send_header("Content-Length", str(len(body)))
	        self.end_headers()
	        self.wfile.write(body)
	    def log_message(self, *a): pass
	class S(http.server.ThreadingHTTPServer):
	    def handle_error(self, *a): pass # weir has ended it
	S((sys.argv[1], 8090), H).serve_forever()
	PY
	in_net python3 "$TMP/gz.py" $PLAIN4 "$TMP/www/eicar.com.gz" &
	BG+=($!)
	wait_for 10 in_net sh -c "ss -ltn | grep -q $PLAIN4:8090"
}

# sent_to_sink HOW...: what of the secret but zeroes has arrived
sent_to_sink() {
	in_net timeout 20 nc -l $EXTRA4 8091 >"$TMP/leaked" &
	local sink=$!
	wait_for 10 in_net sh -c "ss -ltn | grep -q $EXTRA4:8091"
	"$@" nc -N $EXTRA4 8091 <"$TMP/secret"
	wait $sink
	tr -d '\000\n' <"$TMP/leaked"
}

match_http() {
	# a text, with a word at each 7001st place, which is on all borders sooner or later
	python3 - "$TMP/www/words" "$TMP/want" <<-'PY'
	import base64, os, sys
	t = base64.b64encode(os.urandom(75000000))
	parts = [t[i:i + 7001] for i in range(0, len(t), 7001)]
	open(sys.argv[1], "wb").write(b"<confidential>".join(parts))
	open(sys.argv[2], "wb").write(b"<***>".join(parts))
	PY
	cat >"$TMP/patterns" <<-'PAT'
	replace down "<confidential>" with "<***>"
	block up "BEGIN RSA PRIVATE KEY" name key
	alert up /user-agent: curl/i name agent
	PAT
	with match="$TMP/patterns,hold=5s" curl -s --ignore-content-length -H "Connection: close" -o "$TMP/got" \
		http://$PLAIN4:8080/words
	check "a word is replaced in 100 MB, wherever it was cut" cmp "$TMP/got" "$TMP/want"
	is "an alert is in the log" "$(event match name)" "agent curl"
	yes '<confidential>' | head -c 1500000 >"$TMP/www/words"
	with match="$TMP/patterns,hold=5s" curl -s --ignore-content-length -H "Connection: close" -o "$TMP/got" \
		http://$PLAIN4:8080/words
	is "... and where there is nothing else" "$(sort -u "$TMP/got") $(wc -l <"$TMP/got")" "<***> 100000"
	{
		head -c 200000 /dev/zero
		echo "-----BEGIN RSA PRIVATE KEY-----"
	} >"$TMP/secret"
	is "a key, without weir" "$(sent_to_sink in_host | wc -c)" 31
	is "does not leave, not whole" \
		"$(sent_to_sink with match="$TMP/patterns" | grep -c "RSA PRIVATE KEY")" 0
	is "the log says which pattern it was" "$(event match name)" "key nc"
	like "nor in a file with an error is anything run: status 2" \
		"$(echo 'block "' >"$TMP/bad"; with match="$TMP/bad" true 2>&1; echo "status $?")" \
		"bad: line 1: .*status 2"
}

# reloaded HOOK FILE NEW: what curl gets before FILE has the text NEW and weir was told, and after
reloaded() {
	local hook=$1 file=$2
	nsenter --net=/run/netns/$HOST "$WEIR" run -q --hook "$hook=$file" -- sh -c "
		curl -s http://$PLAIN4:8080/hello
		touch $TMP/go; while [ -e $TMP/go ]; do sleep 0.05; done
		curl -s http://$PLAIN4:8080/hello || echo status \$?" 2>"$TMP/err" &
	local weir=$!
	wait_for 10 test -e "$TMP/go"
	echo "$3" >"$file"
	in_host "$WEIR" reload --instance $weir
	sleep 0.5
	rm "$TMP/go"
	wait $weir
	cat "$TMP/err"
}

reloads() {
	echo 'alert "nothing"' >"$TMP/p"
	is "match, reloaded" "$(reloaded match "$TMP/p" 'replace down "hello" with "howdy"')" \
		"hello from nginx"$'\n'"reloaded"$'\n'"howdy from nginx"
	like "match, reloaded with an error: as before, and it is said" \
		"$(reloaded match "$TMP/p" 'replace "hello"' | tr '\n' ' ')" \
		"^howdy from nginx reloaded howdy from nginx .*/p: line 1: replace needs"
	[ -e "$(dirname "$WEIR")/hooks/yara.so" ] || return
	echo 'rule a { condition: false }' >"$TMP/p"
	is "yara, reloaded" "$(reloaded yara "$TMP/p" 'rule a { condition: true }')" \
		"hello from nginx"$'\n'"reloaded"$'\n'"status 56"
	echo 'rule a { condition: false }' >"$TMP/p"
	like "yara, reloaded with an error: as before, and it is said" \
		"$(reloaded yara "$TMP/p" 'include "/etc/passwd"' | tr '\n' ' ')" \
		"^hello from nginx reloaded hello from nginx .*/p: line 1: "
}

dump_files() {
	mkdir -m 777 "$TMP/dump"
	with dump="$TMP/dump" curl -s -o "$TMP/got" http://$PLAIN4:8080/part300000
	like "dump: a file up and one down" "$(ls "$TMP/dump")" \
		'^[0-9]+-curl-down.bin.[0-9]+-curl-up.bin$'
	like "the request is in one" "$(head -1 "$TMP"/dump/*-up.bin)" '^GET /part300000 HTTP/1.1'
	check "the answer is in the other" cmp <(tail -c 300000 "$TMP"/dump/*-down.bin) "$TMP/got"
	rm -f "$TMP"/dump/*
	with "dump=$TMP/dump,max=1k" curl -s -o "$TMP/got" http://$PLAIN4:8080/part300000
	is "not more than max= bytes" "$(stat -c %s "$TMP"/dump/*-down.bin)" 1024
	like "a directory that is not there is refused" \
		"$(with dump=/nonexistent true 2>&1; echo "status $?")" "/nonexistent.*status 2"
}

hexlog_file() {
	with "hexlog=$TMP/hex,bytes=16" curl -s -o /dev/null http://$PLAIN4:8080/hello
	like "hexlog has who, where and what" "$(cat "$TMP/hex")" \
		"curl\([0-9]+\) > $PLAIN4:8080 [0-9]+ bytes.00000000 +47 45 54 20 2f 68 65 6c  6c 6f .*\|GET /hello HTTP/\|"
}

topology_up
chmod 755 "$TMP" # root's worker is another user, who opens the files
nginx_up
yara_files=1
[ -e "$(dirname "$WEIR")/hooks/yara.so" ] || yara_files=
if [ -n "$yara_files" ]; then
	eicar | gzip >"$TMP/www/eicar.com.gz"
	gzip_up
	rm "$TMP/www/eicar.com.gz"
	yara_eicar
else
	skip "yara" "built without libyara"
fi
if [ -e "$(dirname "$WEIR")/hooks/match.so" ]; then
	match_http
	reloads
else
	skip "match" "built without Hyperscan"
fi
dump_files
hexlog_file
done_testing
