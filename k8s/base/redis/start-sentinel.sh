#!/bin/sh
# Starts a Sentinel. A new one asks who the master is now; one that only restarted has its own notes.
set -eu
folder=${RUN_DIR:-/run/sentinel}
conf=$folder/sentinel.conf

ask() {
    host=$1 port=$2 user=$3 password=$4
    shift 4
    # shellcheck disable=SC2086
    REDISCLI_AUTH=$password timeout 2 redis-cli ${CLI_ARGUMENTS:-} -h "$host" -p "$port" --user "$user" "$@" 2>/dev/null || true
}

find_master() {
    for sentinel in $SENTINELS; do
        named=$(ask "$sentinel" 26379 probe "$PROBE_PASSWORD" SENTINEL get-master-addr-by-name stenoflow | head -n 1)
        [ -n "$named" ] && echo "$named" && return
    done
    for node in $NODES; do
        ask "$node" 6379 probe "$PROBE_PASSWORD" INFO replication | grep -q '^role:master' && echo "$node" && return
    done
    echo "${NODES%% *}"
}

if [ ! -f "$conf" ]; then
    master=$(find_master)
    # A name that does not resolve yet would end it.
    until getent ahosts "$master" >/dev/null; do sleep 1; done
    umask 077
    {
        cat "${CONF_DIR:-/etc/redis}/sentinel.conf"
        # Always the same id under the same name, so that one that was made anew is not taken for another.
        echo "sentinel myid $(printf %s "$SELF" | sha1sum | cut -c 1-40)"
        echo "sentinel announce-ip $SELF"
        echo "sentinel announce-port 26379"
        echo "sentinel monitor stenoflow $master 6379 2"
        echo "sentinel auth-user stenoflow sentinel"
        echo "sentinel auth-pass stenoflow $SENTINEL_PASSWORD"
        echo "sentinel sentinel-user sentinel"
        echo "sentinel sentinel-pass $SENTINEL_PASSWORD"
        echo "sentinel down-after-milliseconds stenoflow 3000"
        echo "sentinel failover-timeout stenoflow 10000"
        echo "sentinel parallel-syncs stenoflow 1"
    } >"$conf.new"
    mv "$conf.new" "$conf"
fi
# shellcheck disable=SC2086
exec redis-server "$conf" --sentinel ${TLS_ARGUMENTS:---port 26379}
