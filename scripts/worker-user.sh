#!/bin/sh
# SPDX-License-Identifier: MIT
# worker-user.sh - makes the system user and group "weir" unless they exist.
set -eu
if ! getent passwd weir >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir /nonexistent \
		--shell /usr/sbin/nologin --comment "weir's worker" weir
fi
