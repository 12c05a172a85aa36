#!/bin/bash
# SPDX-License-Identifier: MIT
# check-symbols.sh OBJECT... - none of our symbols, static ones too, may start with a prefix that
# lwIP or libuv exports: it could replace theirs without a word. The few that replace lwIP's on
# purpose stand here.
set -u
ours='^(tcp_|udp_|ip_|dns_|netif_|pbuf_|mem_|memp_|sys_|stats_|raw_|uv_)'
wanted='^(ip_chksum_pseudo|ip_chksum_pseudo_partial|tcp_next_iss)$'
found=$(nm -A --defined-only "$@" | sed 's/:[0-9a-f]* [a-zA-Z] /:/' |
	awk -F: -v bad="$ours" -v wanted="$wanted" '$2 ~ bad && $2 !~ wanted { sub(/\.[0-9]+$/, "", $2); print $1 ": " $2 }' |
	grep -vE '\.(cold|part|constprop)' | sort -u)
if [ -n "$found" ]; then
	echo "symbols with a prefix of lwIP's or libuv's:"
	echo "$found"
	exit 1
fi
echo "  SYMBOLS ok"
