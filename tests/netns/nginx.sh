# SPDX-License-Identifier: MIT
# nginx.sh - HTTP/1.1 on 8080, HTTP/2 over TLS on 8443 and a git repository; sourced.

make_certificate() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
		-subj /CN=weir.test -addext subjectAltName=DNS:weir.test,IP:$PLAIN4,IP:$PLAIN6 \
		-keyout "$TMP/key.pem" -out "$TMP/cert.pem" 2>/dev/null
}

make_repository() {
	git init -q -b main "${TMP:?}/work"
	head -c 300000 /dev/urandom >"$TMP/work/blob"
	for i in 1 2 3; do
		echo "line $i" >>"$TMP/work/file"
		git -C "$TMP/work" add .
		git -C "$TMP/work" -c user.name=t -c user.email=t@t commit -q -m "commit $i"
	done
	git clone -q --bare "$TMP/work" "$TMP/www/repo.git"
	git -C "$TMP/www/repo.git" update-server-info
}

nginx_up() {
	mkdir -p "$TMP/www" "$TMP/nginx"
	make_certificate
	make_repository
	python3 "$TOP/tests/lib/burst.py" --write "$TMP/www"
	echo "hello from nginx" >"$TMP/www/hello"
	cat >"$TMP/nginx.conf" <<-CONF
	user root;
	daemon off;
	pid $TMP/nginx/pid;
	error_log $TMP/nginx/error.log;
	events { worker_connections 8192; }
	http {
		access_log off;
		client_body_temp_path $TMP/nginx/body;
		proxy_temp_path $TMP/nginx/proxy;
		fastcgi_temp_path $TMP/nginx/fastcgi;
		uwsgi_temp_path $TMP/nginx/uwsgi;
		scgi_temp_path $TMP/nginx/scgi;
		server {
			listen 8080 reuseport;
			listen [::]:8080 reuseport;
			root $TMP/www;
		}
		server {
			listen 8443 ssl http2;
			listen [::]:8443 ssl http2;
			ssl_certificate $TMP/cert.pem;
			ssl_certificate_key $TMP/key.pem;
			root $TMP/www;
		}
	}
	CONF
	in_net nginx -c "$TMP/nginx.conf" 2>"$TMP/nginx.err" &
	BG+=($!)
	wait_for 10 in_host curl -sf http://$PLAIN4:8080/hello || {
		echo "Bail out! nginx did not start: $(cat "$TMP/nginx.err")"
		exit 1
	}
}
