#!/bin/sh
# with_log.sh LOG COMMAND...: runs it with its output in LOG, and shows that if it fails.
log=$1
shift
if "$@" >"$log" 2>&1; then
  exit 0
fi
cat "$log"
exit 1
