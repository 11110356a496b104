# The story of an alert, after servers.sh, with `sockpick daemon` watching and Prometheus and
# Alertmanager told by it. Each line that begins with @ and a word is one of hear.rs.
port=40100
told=$FOLDER/told

step() {
    echo "@step $*"
}

# ask PORT PATH: the body of what a server on this host answers, an error's too. It must not see
# the question's end as the client's: Go's servers give up an answer then.
ask() {
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" |
        socat -t 60 - "TCP4:127.0.0.1:$1,shut-none" | sed '1,/^\r*$/d'
}

# answer MARK PORT PATH: the same as a line for the host.
answer() {
    printf '@%s %s\n' "$1" "$(ask "$2" "$3")"
}

# visit COUNT PAUSE: that many requests of the client.
visit() {
    ip netns exec client sh "$FOLDER/requests" "$port" "$1" "$2"
    port=$((port + 2 * $1))
}

# A request for the port on which nobody listens.
knock() {
    ip netns exec client nc -w 5 6.6.6.6 443 </dev/null 2>/dev/null || true
}

# serve NAME PORT PROGRAM OPTION...: in the background, until it answers that it is ready.
serve() {
    name=$1 at=$2
    shift 2
    "$@" >"$FOLDER/$name.log" 2>&1 &
    eventually ready "$at" || fail "$name does not come up:" "$FOLDER/$name.log"
}

ready() {
    ask "$1" /-/ready 2>/dev/null | grep -qE 'OK|Ready'
}

# Whom Alertmanager tells: keeps each message as a line.
receiver() {
    cat >"$FOLDER/receive" <<'SCRIPT'
length=0
while read -r name value; do
    value=$(printf '%s' "$value" | tr -d '\r')
    case $name in
        Content-Length:) length=$value ;;
        POST | *:) ;;
        *) break ;;
    esac
done
printf '%s\n' "$(head -c "$length")" >>/tmp/demo/told
printf 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'
SCRIPT
    : >"$told"
    socat TCP4-LISTEN:9099,bind=127.0.0.1,reuseaddr,fork "SYSTEM:sh $FOLDER/receive" &
}

tracing() {
    grep -q 'tracing by' "$FOLDER/daemon.log"
}

scraped() {
    ask 9090 '/api/v1/query?query=sockpick_syn_total' | grep -q '"instance"'
}

alerted() {
    ask 9093 /api/v2/alerts >"$FOLDER/alerts"
    grep -q SockpickUncovered "$FOLDER/alerts"
}

fires() {
    ask 9090 /api/v1/alerts >"$FOLDER/rules"
    grep -q '"alertname":"SockpickUncovered"' "$FOLDER/rules"
}

# waited SECONDS UNTIL...: tries every second, with a request every five.
waited() {
    left=$1
    shift
    until "$@"; do
        [ "$left" -gt 0 ] || return 1
        [ $((left % 5)) -ne 0 ] || visit 1 0
        left=$((left - 1))
        sleep 1
    done
}

resolved() {
    grep -q '"status":"resolved"' "$told"
}

# Whose own words are in the report.
amtool_says() {
    amtool --alertmanager.url=http://127.0.0.1:9093 alert query | sed 's/^/@amtool /'
}

metrics() {
    ask 9464 /metrics | grep '^sockpick_' | sed 's/^/@metric /'
}

echo "@kernel $(uname -r)"
echo "@version $(sockpick --version)"
for program in prometheus prometheus-alertmanager; do
    "$program" --version 2>&1 | sed -n '1s/, version//; 1s/ (.*//; 1s/^/@version /p'
done
network
# So that there is a time that probes run.
echo 1 >/proc/sys/kernel/bpf_stats_enabled
mkdir -p /var/lib/sockpick
sockpick daemon --config /etc/sockpick/sockpick.toml --check >"$FOLDER/effective" ||
    fail 'sockpick refuses its configuration'

step 'Alertmanager and Prometheus start'
receiver
serve alertmanager 9093 prometheus-alertmanager --config.file=/etc/prometheus/alertmanager.yml \
    --storage.path="$FOLDER/alertmanager" --cluster.listen-address= \
    --web.listen-address=127.0.0.1:9093
serve prometheus 9090 prometheus --config.file=/etc/prometheus/prometheus.yml \
    --storage.tsdb.path="$FOLDER/prometheus" --web.listen-address=127.0.0.1:9090

step 'nginx B and nginx A start, then sockpick daemon --config /etc/sockpick/sockpick.toml'
configure A 6.6.6.6:80 200
configure B '*:80' 403
start B
start A
from=$(date +%s)
sockpick daemon --config /etc/sockpick/sockpick.toml 2>"$FOLDER/daemon.log" &
daemon=$!
eventually tracing || fail 'the daemon does not trace:' "$FOLDER/daemon.log"
sed 's/^/@said /' "$FOLDER/daemon.log"

step 'Both are up; the client makes requests to 6.6.6.6:80, and two to :443, where nobody listens'
visit 2 0
knock
eventually scraped || fail 'Prometheus has nothing of sockpick:' "$FOLDER/prometheus.log"
visit 6 1
knock

step 'A stops; the first request after that'
stop A
visit 1 0
eventually alerted || fail 'Alertmanager does not get the alert:' "$FOLDER/daemon.log"
printf '@alerts %s\n' "$(cat "$FOLDER/alerts")"
amtool_says

step 'A is still away; more requests, until a rule of monitoring/prometheus-rules.yml fires'
visit 6 1
eventually fires || fail 'no rule of Prometheus fires:' "$FOLDER/rules"
printf '@rules %s\n' "$(cat "$FOLDER/rules")"

step 'A is back'
start A
visit 3 1
step 'An alert lives two minutes at least; a request now and then until it is resolved'
waited 180 resolved || fail 'the alert is not resolved:' "$FOLDER/daemon.log"
sed 's/^/@told /' "$told"
answer after 9093 /api/v2/alerts

step 'What /metrics says'
metrics
# Prometheus has seen the end, too.
sleep 4

step "Prometheus is asked for every query of monitoring/grafana-dashboard.json"
to=$(date +%s)
echo "@time $from $to"
while read -r number query; do
    answer "range $number" 9090 "/api/v1/query_range?query=$query&start=$from&end=$to&step=2"
done <"$QUERIES"

kill -TERM "$daemon"
wait "$daemon" || fail 'the daemon failed at its end:' "$FOLDER/daemon.log"
