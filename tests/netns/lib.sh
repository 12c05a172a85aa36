# SPDX-License-Identifier: MIT
# lib.sh: what the process tests share. Source it first; end with `done_testing`.
#
#   $WEIR       the program under test
#   $TMP        a directory of this test's own, removed at exit
#   as WHO      run the rest as root or as an ordinary user (uid 2001) who may open
#               /dev/net/tun; run WHO is the same with `weir run -q` in front
#   ok is like  TAP checks; each takes the name last
#   wait_for    poll instead of sleeping

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

TAP_N=0
TAP_BAD=0

skip_all() {
	echo "1..0 # SKIP $1"
	exit 0
}

# ok STATUS NAME
ok() {
	TAP_N=$((TAP_N + 1))
	if [ "$1" = 0 ]; then
		echo "ok $TAP_N - $2"
	else
		TAP_BAD=$((TAP_BAD + 1))
		echo "not ok $TAP_N - $2"
	fi
}

# is GOT WANT NAME
is() {
	if [ "$1" = "$2" ]; then
		ok 0 "$3"
	else
		ok 1 "$3"
		printf '# got:  %s\n# want: %s\n' "${1//$'\n'/$'\n#       '}" "${2//$'\n'/$'\n#       '}"
	fi
}

# like TEXT PATTERN NAME: an extended regular expression somewhere in TEXT
like() {
	if printf '%s' "$1" | grep -Eq -- "$2"; then
		ok 0 "$3"
	else
		ok 1 "$3"
		printf '# got:  %s\n# want: /%s/\n' "${1//$'\n'/$'\n#       '}" "$2"
	fi
}

skip() {
	TAP_N=$((TAP_N + 1))
	echo "ok $TAP_N - $1 # SKIP $2"
}

diag() {
	printf '# %s\n' "$*"
}

done_testing() {
	echo "1..$TAP_N"
	exit $((TAP_BAD > 0))
}

# wait_for SECONDS COMMAND...: until it succeeds; 1 when it never does
wait_for() {
	local end=$(($(date +%s%N) + $1 * 1000000000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s%N)" -lt "$end" ] || return 1
		sleep 0.02
	done
}

[ "$(id -u)" = 0 ] || skip_all "needs root to make namespaces"
for tool in ip nsenter unshare setpriv python3; do
	command -v "$tool" >/dev/null || skip_all "needs $tool"
done
[ -c /dev/net/tun ] || skip_all "needs /dev/net/tun"

TMP=$(mktemp -d /tmp/weir-test.XXXXXX) || exit 1
chmod 755 "$TMP"
mkdir -m 777 "$TMP/share" # where an ordinary user's programs may write
cp "${WEIR:-build/release/weir}" "$TMP/weir" || skip_all "weir is not built"
WEIR=$TMP/weir

NETNS_MADE=()

# netns_new NAME: a network namespace that goes away with the test
netns_new() {
	ip netns add "$1" && NETNS_MADE+=("$1")
}

# in_ns NAME COMMAND...: only the network changes (`ip netns exec` would hide cgroups)
in_ns() {
	local ns=$1
	shift
	nsenter --net="/run/netns/$ns" -- "$@"
}

cleanup() {
	local ns
	for ns in "${NETNS_MADE[@]}"; do
		ip netns pids "$ns" 2>/dev/null | xargs -r kill -9
		ip netns del "$ns" 2>/dev/null
	done
	rm -rf "$TMP"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

# The real /dev/net/tun may be closed to users: a node of our own is bound over it
# in a mount namespace that only the command sees.
mknod "$TMP/tun" c 10 200 && chmod 666 "$TMP/tun"
cat >"$TMP/as_user" <<'EOF'
#!/bin/sh
mount --bind "$(dirname "$0")/tun" /dev/net/tun && shift &&
exec setpriv --reuid 2001 --regid 2001 --clear-groups --inh-caps=-all "$@"
EOF
chmod 755 "$TMP/as_user"

# prefix WHO [NETNS]: sets PRE to what must stand before a command to run it as
# WHO (root or user) in namespace NETNS; an array, so that `exec "${PRE[@]}"` works
prefix() {
	PRE=()
	[ -n "${2:-}" ] && PRE+=(nsenter "--net=/run/netns/$2" --)
	[ "$1" = user ] && PRE+=(unshare -m --propagation private -- "$TMP/as_user" -)
	return 0
}

# as WHO COMMAND...: in namespace $HOST, where one is set
as() {
	local PRE
	prefix "$1" "${HOST:-}"
	shift
	"${PRE[@]}" "$@"
}

# run WHO ARGUMENTS...: `weir run -q`
run() {
	local who=$1
	shift
	as "$who" "$WEIR" run -q "$@"
}
