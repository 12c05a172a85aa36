#!/bin/bash
# SPDX-License-Identifier: MIT
# tap-save.sh TEST - runs one test for prove and keeps its output as $TAP_DIR/GROUP.NAME.tap
set -o pipefail
group=$(basename "$(dirname "$1")")
name=$(basename "$1" .sh)
case $1 in *.sh) run=(bash "$1") ;; *) run=("$1") ;; esac
timeout --kill-after=10 "${TEST_LIMIT:-600}" "${run[@]}" | tee "${TAP_DIR:?}/$group.$name.tap"
