#!/bin/bash
# SPDX-License-Identifier: MIT
# check-levels.sh BUILD - who may include whom. A file sees its own level and lower ones; what it
# really sees is read from the compiler's dependency files in BUILD.
set -u
B=$1
bad=0

# file (without suffix) -> level; docs/ARCHITECTURE.md explains them
level() {
	case $1 in
	src/base/*) echo 0 ;;
	src/policy_fd) echo 2 ;;
	src/policy_host) echo 4 ;;
	src/check) echo 5 ;;
	src/learnt | src/tally | src/policy | src/policy_* | src/nameset | src/prefixset | src/numset | src/flowspec) echo 1 ;;
	src/packet | src/flow | src/option | src/config | src/config_up | src/rule | src/change | src/select | src/plan | src/regions | src/timers | src/dest | src/listener | src/names | src/dnsmsg | src/dnsstream | src/expr | src/expr_*) echo 1 ;;
	src/hook | src/hook_* | src/facts | src/decision | src/owner | src/owner_* | src/inbound_select | src/inbound_bpf | src/inbound_nobpf | src/bpf/* | src/hooks/* | stack/stack | src/ipc | src/outbox | src/netsock) echo 2 ;;
	src/netsock_dgram | src/tun | src/tundev | src/judge | src/relay | src/relay_dgram | src/relay_tcp* | \
		src/relay_udp | src/relay_icmp | src/relay_in | stack/*) echo 3 ;;
	src/relay_local | src/intercept | src/nlmsg | src/netcfg | src/rtnl | src/notify | src/looptest | src/oldconn | src/nft | src/netns | src/cgroupwatch | src/mirror | src/journal | src/runlock | src/tosyslog | src/sysctl | src/hostdns | src/explain | \
		src/sandbox | src/inside | src/inside_dns | src/resolvwatch | src/keeper | src/isolate | src/isolate_* | src/fds | src/proctree | \
		src/control | src/ruleset | src/select_names | src/record | src/record_* | src/publish | src/inbound | src/starter | src/broker | src/sink | src/table | \
		src/communityid) echo 4 ;;
	src/worker | src/workerctl | src/service | src/ask | src/workerhooks | src/up | src/steer | src/watcher | src/down | src/supervisor | src/demo | src/doctor | src/doctor_* | src/main) echo 5 ;;
	esac
}

complain() {
	echo "$*" >&2
	bad=1
}

# the first prerequisite is the source itself; -MMD leaves system headers out
prerequisites() { # DEPFILE
	sed -n '1,/^$/p' "$1" | tr -d '\\\n' | sed 's/^[^:]*://; s/\.o:.*//' | tr ' ' '\n' |
		sed 's|stack/\.\./||; s|[^/]*/\.\./||' | grep -E '\.[ch]$'
}

check_file() { # SOURCE
	local source=$1 unit=${1%.c} mine header theirs
	mine=$(level "$unit")
	if [ -z "$mine" ]; then
		complain "$source: has no level in scripts/check-levels.sh"
		return
	fi
	for header in $(prerequisites "$B/$unit.d"); do
		case $header in src/* | stack/*) ;; *) continue ;; esac
		theirs=$(level "${header%.?}")
		[ -n "$theirs" ] || complain "$header: has no level in scripts/check-levels.sh"
		[ "${theirs:-0}" -le "$mine" ] || complain "$source (level $mine) sees $header (level $theirs)"
	done
}

# library headers stay where they belong
check_libraries() {
	local f
	f=$(grep -lE '#include [<"]lwip/' src/*.[ch] src/*/*.[ch] stack/*.[ch] 2>/dev/null |
		grep -vE '^stack/(tcp_engine[a-z_]*|csum_lwip|engine_selftest)\.[ch]$')
	[ -z "$f" ] || complain "lwIP's headers outside of stack/'s engine: $f"
	# PCRE2 computes and nothing else, but what it allocates and how long it takes is bounded in one place
	f=$(grep -lE '#include <pcre2' src/*.[ch] src/base/*.[ch] | grep -v '^src/expr_regex\.c$')
	[ -z "$f" ] || complain "PCRE2 outside of src/expr_regex.c and the hooks: $f"
	for f in src/*.c src/base/*.c src/hooks/*.c; do
		[ "$(level "${f%.c}")" -le 1 ] 2>/dev/null || continue
		! grep -nE '#include <(uv|libmnl/|jansson|seccomp|cap-ng|openssl/|sys/epoll|sys/ioctl)' "$f" /dev/null ||
			complain "$f: level $(level "${f%.c}") makes no system calls and uses no library"
	done
}

for source in src/*.c src/base/*.c src/hooks/*.c stack/*.c; do
	[ -e "$source" ] && [ -e "$B/${source%.c}.d" ] && check_file "$source"
done
check_libraries
[ $bad = 0 ] && echo "  LEVELS ok"
exit $bad
