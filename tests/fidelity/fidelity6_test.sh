#!/bin/bash
# SPDX-License-Identifier: MIT
# What programs see over IPv6, with and without weir: cases.sh. ONLY=text runs part of them,
# DIRECT_ONLY=1 checks the servers and the probe alone.
FAMILY=6
. "$(dirname "$0")/cases.sh"
fidelity_main
