# Runs in the guest, before a story: two nginx services and a client. Everything the host needs to
# know is printed as a line that begins with @ and a word.
set -eu
FOLDER=/tmp/demo
mkdir "$FOLDER"

fail() {
    echo "$1" >&2
    [ $# -lt 2 ] || cat "$2" >&2
    exit 1
}

# Tries a command for a while.
eventually() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || return 1
        sleep 0.1
    done
}

# The client's own host: a namespace at the other end of a cable.
network() {
    ip netns add client
    ip link add eth0 type veth peer name eth0 netns client
    ip addr add 203.0.113.1/24 dev eth0
    ip addr add 6.6.6.6/32 dev lo
    ip link set eth0 up
    ip -n client addr add 203.0.113.7/24 dev eth0
    ip -n client link set eth0 up
    ip -n client route add default via 203.0.113.1
}

# configure NAME LISTEN STATUS. The answer says who gives it, and to which port of the client.
configure() {
    echo "$2" >"$FOLDER/$1.listen"
    cat >"$FOLDER/$1.conf" <<CONF
user www-data;
worker_processes 2;
pid $FOLDER/$1.pid;
error_log $FOLDER/$1.error;
events { worker_connections 64; }
http {
    access_log off;
    server {
        listen $2 reuseport;
        location / { return $3 "$1 \$remote_port \$pid\n"; }
    }
}
CONF
}

# Master and workers of a service; nothing when it does not run.
processes() {
    [ -s "$FOLDER/$1.pid" ] || return 0
    master=$(cat "$FOLDER/$1.pid")
    echo "$master $(cat "/proc/$master/task/$master/children")"
}

works() {
    [ "$(processes "$1" | wc -w)" -eq 3 ]
}

# The process that is started opens the listeners, leaves them to the master and ends.
start() {
    nginx -e "$FOLDER/$1.error" -c "$FOLDER/$1.conf" &
    echo $! >"$FOLDER/$1.starter"
    wait $! || fail "nginx $1 does not start"
    eventually works "$1" || fail "nginx $1 has no workers:" "$FOLDER/$1.error"
}

stopped() {
    [ ! -e "/proc/$1" ]
}

stop() {
    master=$(cat "$FOLDER/$1.pid")
    kill -TERM "$master"
    eventually stopped "$master" || fail "nginx $1 does not end"
}

# requests FIRST-PORT COUNT [PAUSE]: in the client's namespace; each from a port that no other
# request has. busybox cannot choose its port, so the namespace leaves it two to pick from.
cat >"$FOLDER/requests" <<'SCRIPT'
port=$1
last=$(($1 + 2 * ($2 - 1)))
while [ "$port" -le "$last" ]; do
    echo "$port $((port + 1))" >/proc/sys/net/ipv4/ip_local_port_range
    printf 'GET / HTTP/1.0\r\nHost: 6.6.6.6\r\n\r\n' | timeout 10 nc 6.6.6.6 80 | tr -d '\r' |
        awk 'NR == 1 { status = $2 } { last = $0 } END { print "@answer", status, last }'
    port=$((port + 2))
    [ $# -lt 3 ] || sleep "$3"
done
SCRIPT
