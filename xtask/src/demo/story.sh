# Runs in the guest: two nginx services, a client, and sockpick watching. Everything the host
# needs to know is printed as a line that begins with @ and a word; see record.rs.
set -eu
FOLDER=/tmp/demo
REQUESTS=6
port=40100
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

# C: a server of its own, on A's address but bound to a device, which nginx cannot be.
bound() {
    echo '6.6.6.6%eth0:80' >"$FOLDER/C.listen"
    cat >"$FOLDER/C.answer" <<'SCRIPT'
printf 'HTTP/1.0 200 OK\r\n\r\nC %s %s\n' "$SOCAT_PEERPORT" "$SOCAT_PPID"
SCRIPT
    socat TCP4-LISTEN:80,bind=6.6.6.6,so-bindtodevice=eth0,reuseport,fork \
        "SYSTEM:sh $FOLDER/C.answer" &
    c=$!
    eventually listens_on_device || fail "socat does not listen"
}

listens_on_device() {
    ss -Hltn 'sport = :80' | grep -q '6.6.6.6%eth0:80'
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

# requests FIRST-PORT: in the client's namespace; each from a port that no other request has.
# busybox cannot choose its port, so the namespace leaves it two to pick from.
cat >"$FOLDER/requests" <<'SCRIPT'
port=$1
last=$(($1 + 2 * ($2 - 1)))
while [ "$port" -le "$last" ]; do
    echo "$port $((port + 1))" >/proc/sys/net/ipv4/ip_local_port_range
    printf 'GET / HTTP/1.0\r\nHost: 6.6.6.6\r\n\r\n' | timeout 10 nc 6.6.6.6 80 | tr -d '\r' |
        awk 'NR == 1 { status = $2 } { last = $0 } END { print "@answer", status, last }'
    port=$((port + 2))
done
SCRIPT

# step WHOSE TITLE REMARK...: whose requests they are, who runs now, and the answers.
step() {
    echo "@step $2"
    echo "@whose $1"
    shift 2
    for remark; do
        echo "@remark $remark"
    done
    for name in A B; do
        if works "$name"; then
            starter=$(cat "$FOLDER/$name.starter")
            echo "@service $name $(cat "$FOLDER/$name.listen") $starter $(processes "$name")"
        fi
    done
    [ -z "${c-}" ] || echo "@service C $(cat "$FOLDER/C.listen") $c"
    ip netns exec client sh "$FOLDER/requests" "$port" "$REQUESTS"
    port=$((port + 100))
}

# watch OUTPUT: sockpick as a user runs it, until it says that it traces.
watch() {
    sockpick trace --port 80 -o "$1" >"$FOLDER/$1" 2>"$FOLDER/$1.messages" &
    eval "$1=$!"
    eventually grep -q 'tracing by' "$FOLDER/$1.messages" ||
        fail "sockpick does not trace:" "$FOLDER/$1.messages"
}

report() {
    kill -INT "$table" "$json"
    wait "$table" || fail "sockpick trace failed:" "$FOLDER/table.messages"
    wait "$json" || fail "sockpick trace -o json failed:" "$FOLDER/json.messages"
    sed 's/^/@table /' "$FOLDER/table"
    sed 's/^/@messages /' "$FOLDER/table.messages"
    sed 's/^/@event /' "$FOLDER/json"
}

echo "@kernel $(uname -r)"
network
configure A 6.6.6.6:80 200
configure B '*:80' 403
start B
start A
# The table as a person sees it, and the same as JSON to compare.
watch table
watch json
step A 'Both are up'
stop B
start B
step A 'B was restarted' \
    'Before Linux 5.0 this is where it went wrong: listeners stood in one list by port, the last' \
    'started in front, and from here on B got the requests for 6.6.6.6. Now the address decides.'
stop A
step A 'A restarts, and has no listener for the moment' \
    'On every kernel the wildcard listener takes what the specific one leaves. No connection is' \
    'refused and no log of A mentions it: clients of A are told 403 by B.'
start A
step A 'A is back'
bound
step C 'C starts on the same address, bound to eth0, where the requests come in' \
    'More specific still: what comes in by eth0 is C'"'"'s now.'
stop A
start A
step C 'A is restarted' \
    'On every kernel to this day: of two groups on one address, one bound to the device and one' \
    'not, the one started last stands in front. C listens, and does not get its requests.'
report
