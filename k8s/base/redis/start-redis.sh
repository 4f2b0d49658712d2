#!/bin/sh
# Starts Redis as what the others say it is. A master that comes back empty must not be master again: it would empty
# its replica too. So a node that Sentinel still calls the master waits until the other one is it.
#
# NODES and SENTINELS are names, SELF is this node's; TLS_ARGUMENTS and CLI_ARGUMENTS are set by components/tls.
set -eu
conf=/run/redis/redis.conf
[ -n "${RUN_DIR:-}" ] && conf=$RUN_DIR/redis.conf

ask() { # ask HOST PORT USER PASSWORD COMMAND...
    host=$1 port=$2 user=$3 password=$4
    shift 4
    # shellcheck disable=SC2086  # CLI_ARGUMENTS is meant to be words
    REDISCLI_AUTH=$password timeout 2 redis-cli ${CLI_ARGUMENTS:-} -h "$host" -p "$port" --user "$user" "$@" 2>/dev/null || true
}

named_by_sentinels() { # the master that two Sentinels at least agree on
    for sentinel in $SENTINELS; do
        ask "$sentinel" 26379 failover "$FAILOVER_PASSWORD" SENTINEL get-master-addr-by-name stenoflow | head -n 1
    done | grep . | sort | uniq -c | while read -r votes name; do
        [ "$votes" -ge 2 ] && echo "$name"
    done || true
}

is_master() { ask "$1" 6379 probe "$PROBE_PASSWORD" INFO replication | grep -q '^role:master'; }

find_master() {
    waited=0
    while [ "$waited" -lt "${FAILOVER_WAIT_S:-20}" ]; do
        named=$(named_by_sentinels)
        [ -z "$named" ] && break
        [ "$named" != "$SELF" ] && echo "$named" && return
        waited=$((waited + 1))
        sleep 1
    done
    for node in $NODES; do
        [ "$node" != "$SELF" ] && is_master "$node" && echo "$node" && return
    done
    # Nobody is there: the first start, or all are gone. Then the first node begins, empty.
    [ -n "$named" ] && echo "$SELF" && return
    echo "${NODES%% *}"
}

master=$(find_master)
umask 077
{
    cat "${CONF_DIR:-/etc/redis}/redis.conf"
    echo "masterauth $REPLICA_PASSWORD"
    echo "replica-announce-ip $SELF"
    [ "$master" = "$SELF" ] || echo "replicaof $master 6379"
} >"$conf"
echo "$SELF starts; the master is $master"
# shellcheck disable=SC2086
exec redis-server "$conf" ${TLS_ARGUMENTS:---port 6379}
