#!/bin/sh
# Before Redis is stopped: where it is the master, the other one becomes it first (a pause of a second, nothing lost).
set -u
ask() {
    host=$1 port=$2 user=$3 password=$4
    shift 4
    # shellcheck disable=SC2086
    REDISCLI_AUTH=$password timeout 2 redis-cli ${CLI_ARGUMENTS:-} -h "$host" -p "$port" --user "$user" "$@" 2>/dev/null
}
is_master() { ask "$SELF" 6379 probe "$PROBE_PASSWORD" INFO replication | grep -q '^role:master'; }

waited=0
while is_master && [ "$waited" -lt 20 ]; do
    if [ $((waited % 5)) -eq 0 ]; then
        for sentinel in $SENTINELS; do
            ask "$sentinel" 26379 failover "$FAILOVER_PASSWORD" SENTINEL FAILOVER stenoflow | grep -q OK && break
        done
    fi
    sleep 1
    waited=$((waited + 1))
done
exit 0
