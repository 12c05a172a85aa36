#!/bin/bash
# SPDX-License-Identifier: MIT
# tidy.sh JOBS "CFLAGS" FILE... - clang-tidy; what is checked stands in .clang-tidy
set -u
jobs=$1
flags=$2
shift 2
tidy_one() { # FILE
	local out
	# shellcheck disable=SC2086
	out=$(clang-tidy --quiet "$1" -- $flags 2>"/dev/null") && return
	printf '%s\n' "${out:-$1: clang-tidy failed}"
	return 1
}
export -f tidy_one
export flags
printf '%s\0' "$@" | xargs -0 -n 1 -P "$jobs" bash -c 'tidy_one "$1"' tidy
