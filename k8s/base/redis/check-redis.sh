#!/bin/sh
# Readiness: a master that answers, or a replica that has caught up. So a rolling update waits for the copy.
set -eu
# shellcheck disable=SC2086
told=$(REDISCLI_AUTH=$PROBE_PASSWORD redis-cli ${CLI_ARGUMENTS:-} -h "$SELF" --user probe INFO replication)
case $told in
*role:master*) exit 0 ;;
*master_link_status:up*) exit 0 ;;
esac
exit 1
