#!/usr/bin/env bash
# Runs a command when a port has not answered for some time: on a worker, a shutdown when the head is lost.
#     stop_without_head.sh HOST PORT SECONDS COMMAND...
# Nobody else ends the workers of a lost head, and they cost until somebody does. One started later takes its place.
host=$1 port=$2 limit=$3
shift 3
mine=~/.stop_without_head.pid
echo $$ > "$mine"
answered=$SECONDS
while [ "$(cat "$mine")" = $$ ]; do
    # shellcheck disable=SC2016 # the inner shell expands it
    if timeout 10 bash -c ': < "/dev/tcp/$0/$1"' "$host" "$port" 2> /dev/null; then
        answered=$SECONDS
    elif ((SECONDS - answered >= limit)); then
        echo "$host:$port has not answered for $limit s: $*"
        "$@"
    fi
    sleep $((limit / 20 + 1))
done
