#!/bin/bash
# SPDX-License-Identifier: MIT
# The ABI of hooks: the header alone in C and C++, its layout against that of each released version
# (tests/abi/vN, never to be changed again), hooks built against those in today's weir, and the examples
# of the man page.
. "$(dirname "$0")/../netns/lib.sh"
CC=${CC:-cc}
CXX=${CXX:-c++}
command -v "$CC" >/dev/null || skip_all "needs a C compiler"
strict="-Wall -Wextra -pedantic -Werror"

for std in c11 c17 gnu11; do
	echo '#include <weir/hook.h>' | "$CC" -std=$std $strict -Iinclude -fsyntax-only -x c -
	ok $? "the header alone, $std"
done
if command -v "$CXX" >/dev/null; then
	for std in c++11 c++20; do
		echo '#include <weir/hook.h>' | "$CXX" -std=$std $strict -Iinclude -fsyntax-only -x c++ -
		ok $? "the header alone, $std"
	done
	cat >"$TMP/cxx.cc" <<-'EOF'
		#include <weir/hook.h>
		static int flow_open(void *, weir_flow *, const weir_info *) { return WEIR_PASS; }
		static const weir_hook hook = [] {
			weir_hook h{};
			h.size = sizeof(h), h.abi = WEIR_HOOK_ABI, h.name = "cxx", h.flow_open = flow_open;
			return h;
		}();
		WEIR_HOOK(hook)
	EOF
	"$CXX" -std=c++17 $strict -Iinclude -shared -fPIC -o "$TMP/cxx.so" "$TMP/cxx.cc" &&
		"$WEIR" run -q --hook "$TMP/cxx.so" -- true
	ok $? "a hook in C++"
else
	skip "the header in C++" "no C++ compiler"
fi

for v in tests/abi/v[0-9]*; do
	"$CC" -std=c11 $strict "-I$v" -o "$TMP/then" tests/abi/layout.c &&
		"$CC" -std=c11 $strict -Iinclude -o "$TMP/now" tests/abi/layout.c
	ok $? "the layout of ${v##*/} can be asked for"
	is "$("$TMP/now")" "$("$TMP/then")" "nothing of ${v##*/} has moved"
done

HOST=weir-abi-$$
netns_new "$HOST"
in_ns "$HOST" ip link set lo up
in_ns "$HOST" python3 -c '
import socketserver
class H(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nfrom the server\n")
class S(socketserver.ThreadingTCPServer):
    def handle_error(self, *who):
        pass
S(("127.0.0.1", 8000), H).serve_forever()' &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; cleanup' EXIT
up() { in_ns "$HOST" curl -s -o /dev/null http://127.0.0.1:8000/; }
wait_for 10 up

v1() { # NAME: builds it
	"$CC" -std=c11 $strict -Itests/abi/v1 -shared -fPIC "-DWHICH=$2" -o "$TMP/$1.so" tests/abi/hook_v1.c -Wno-unused
}
get() { as root timeout 20 "$WEIR" run -q --host-loopback 10.9.9.9 --hook "$1" -- curl -s http://10.9.9.9:8000/; }
v1 v1 '&hook' && v1 larger '&larger.hook' && v1 smaller '&smaller' && v1 strange '&strange' && v1 null 0
ok $? "hooks of version 1 are built"
is "$(get "$TMP/v1.so")" "from the hook" "one works: it answers in the server's place"
is "$(get "$TMP/larger.so")" "from the hook" "so does one that says more than this weir knows"
is "$(get "$TMP/smaller.so")" "from the server" "of one that says less no more is read"
err=$("$WEIR" run -q --hook "$TMP/strange.so" -- true 2>&1)
is "$? $err" "2 weir: --hook $TMP/strange.so: it was built for ABI 2 of hooks, this is 1" "another ABI is refused"
err=$("$WEIR" run -q --hook "$TMP/null.so" -- true 2>&1)
is "$? $err" "2 weir: --hook $TMP/null.so: its description is cut short" "as is none"
echo 'int x;' | "$CC" -shared -fPIC -o "$TMP/other.so" -x c -
err=$("$WEIR" run -q --hook "$TMP/other.so" -- true 2>&1)
is "$? $err" "2 weir: --hook $TMP/other.so: it is no hook of weir's: it has no weir_hook_entry()" "and another library"
echo '__attribute__((constructor)) static void die(void) { __builtin_trap(); }' | "$CC" -shared -fPIC -o "$TMP/dies.so" -x c -
err=$("$WEIR" run -q --hook "$TMP/dies.so" -- true 2>&1)
like "$? $err" "^2 weir: --hook: one ended with signal [0-9]+" "one that dies when it is loaded takes nothing along"

# the man page's example, as it stands there
sed -n '/^# EXAMPLE/,/^# LIFE/p' docs/weir-hook.3.scd | sed -n '/^```/,/^```/p' | grep -v '^```' >"$TMP/example.c"
ok $(($(wc -l <"$TMP/example.c") > 60)) "the example of the man page is short"
"$CC" -std=c11 -Wall -Werror -Iinclude -shared -fPIC -o "$TMP/example.so" "$TMP/example.c"
ok $? "it is built"
is "$(get "$TMP/example.so")" "from the server" "and lets pass what it counts"

done_testing
