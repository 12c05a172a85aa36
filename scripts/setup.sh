#!/bin/bash
# SPDX-License-Identifier: MIT
# setup.sh [--test] - installs the Debian packages that weir is built from; with --test those of
# its tests, checks and benchmarks as well. Does nothing when all are there.
set -eu

build="gcc make pkg-config libc6-dev liblwip-dev libuv1-dev libmnl-dev libcap-ng-dev libseccomp-dev
	libjansson-dev libnftables-dev libssl-dev libpcre2-dev liblua5.4-dev libbpf-dev clang llvm scdoc libhyperscan-dev libyara-dev
	zlib1g-dev libndpi-dev"
tests="clang-tidy clang-format cppcheck libclang-rt-dev iproute2 nftables util-linux procps curl git
	openssl iperf3 nginx dnsutils iputils-ping traceroute mtr-tiny netcat-openbsd socat openssh-server
	openssh-client ethtool tcpdump strace passt slirp4netns perl python3 tmux gdb valgrind patch"

usage() {
	echo "usage: setup.sh [--test]"
	exit "$1"
}

wanted=$build
case ${1-} in
"") ;;
--test) wanted="$build $tests" ;;
-h | --help) usage 0 ;;
*) usage 2 ;;
esac

command -v apt-get >/dev/null || {
	echo "setup.sh: this is not Debian or a relative of it. Install the equivalents of:" $wanted >&2
	exit 1
}

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=
for p in $wanted; do
	installed "$p" || missing="$missing $p"
done
if [ -z "$missing" ]; then
	echo "setup.sh: everything is installed"
	exit 0
fi

as_root=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || {
		echo "setup.sh: needs root (or sudo) to run: apt-get install$missing" >&2
		exit 1
	}
	as_root=sudo
fi
export DEBIAN_FRONTEND=noninteractive
echo "setup.sh: apt-get update"
$as_root apt-get update -qq
# a package that this release does not know (or names otherwise) is left out and said
known=
for p in $missing; do
	if apt-cache show "$p" >/dev/null 2>&1; then
		known="$known $p"
	else
		echo "setup.sh: no package $p here, left out"
	fi
done
[ -n "$known" ] || exit 0
echo "setup.sh: apt-get install$known"
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $known
