# Measures in a guest whose nanoseconds are instructions. The bench appends what to measure,
# and sets CONNECTIONS (asked of the load) and COUNTED (what it makes of them).

fail() {
    echo "BENCH-ERROR $*"
    cat /tmp/messages
    exit 1
}

# Instructions that the one processor executed since boot, idling left out.
busy() {
    set -- $(grep '^cpu0 ' /proc/schedstat)
    echo "$8"
}

# Those of one process, with what interrupted it.
ran() {
    sum=0
    for thread in "/proc/$1/task"/*; do
        read -r own _ <"$thread/schedstat" && sum=$((sum + own))
    done
    echo "$sum"
}

# Far longer than any flush interval. Costs nothing: idle time passes at once and is not counted.
settle() {
    sleep 2
}

# start OUTPUT COMMAND...: until it has attached.
start() {
    output=$1
    shift
    : >/tmp/messages
    "$@" >"$output" 2>/tmp/messages &
    tool=$!
    tries=0
    until grep -q -E '^(sockpick: tracing|Attaching)' /tmp/messages "$output"; do
        [ $((tries += 1)) -lt 60 ] && kill -0 "$tool" || fail "$* did not start"
        sleep 1
    done
    settle
}

stop() {
    kill -INT "$tool"
    wait "$tool" || fail "it ended with status $?"
}

# load NAME [PID]: one sample.
load() {
    settle
    busy0=$(busy) ran0=0 ran1=0
    [ $# -lt 2 ] || ran0=$(ran "$2")
    told=$(sockpick-scenarios --load "$CONNECTIONS") || fail "the load of $1 failed: $told"
    settle
    busy1=$(busy)
    [ $# -lt 2 ] || ran1=$(ran "$2")
    echo "SAMPLE $1 $((busy1 - busy0)) $((ran1 - ran0)) ${told##*=}"
}

# A first load has all start-up effects: owners looked up, pages and caches filled.
WARM=500
WARM_COUNTED=1000
warm_up() {
    sockpick-scenarios --load $WARM >/dev/null || fail "the load failed"
}

# What costs little is measured this often at a time: a sample varies by some fifty instructions
# a connection, whatever there is to measure.
OFTEN="1 2 3 4"

baseline() {
    warm_up
    for _ in $OFTEN; do
        load baseline
    done
}

# measure NAME LINES OUTPUT COMMAND...: LINES is what a connection must leave in the output.
measure() {
    name=$1 lines=$2
    shift 2
    start "$@"
    warm_up
    set -- $(grep VmRSS "/proc/$tool/status")
    echo "RESIDENT $name $2"
    times=1
    [ "$lines" -gt 0 ] || times=$OFTEN
    for _ in $times; do
        load "$name" "$tool"
    done
    stop
    [ "$output" = /dev/null ] && return
    wanted=$((lines * (WARM_COUNTED + COUNTED)))
    found=$(grep -c . "$output") || [ "$wanted" -eq 0 ] || fail "$name said nothing"
    [ "$found" -ge "$wanted" ] || fail "$name said $found lines about $wanted connections"
    rm "$output"
}

# Time that each probe of the daemon ran, all told.
probes() {
    wget -q -O - http://127.0.0.1:9464/metrics |
        sed -n 's/^sockpick_bpf_run_seconds_total{probe="\([^"]*\)"} /\1 /p'
}

# parts COMMAND...: what each probe of the daemon takes of a connection.
parts() {
    echo 1 >/proc/sys/kernel/bpf_stats_enabled || return 0
    start /tmp/output "$@"
    warm_up
    settle
    probes >/tmp/before
    sockpick-scenarios --load "$CONNECTIONS" >/dev/null || fail "the load of $1 failed"
    settle
    probes >/tmp/after
    stop
    echo 0 >/proc/sys/kernel/bpf_stats_enabled
    [ -s /tmp/after ] || fail "the daemon told nothing of its probes"
    awk 'NR == FNR { was[$1] = $2; next } { printf "PART %s %d\n", $1, ($2 - was[$1]) * 1e9 }' \
        /tmp/before /tmp/after
}

# idle NAME COMMAND...: a minute with nothing to do.
idle() {
    name=$1
    shift
    start /tmp/output "$@"
    ran0=$(ran "$tool")
    sleep 60
    ran1=$(ran "$tool")
    stop
    echo "IDLE $name $((ran1 - ran0))"
}

printf '[metrics]\nlisten = "127.0.0.1:9464"\n' >/tmp/daemon.toml
[ -r /proc/schedstat ] || fail "this kernel has no /proc/schedstat (CONFIG_SCHEDSTATS)"
: >/tmp/messages
echo "RELEASE $(uname -r)"
BACKENDS=$(sockpick doctor -o json | sed -n 's/.*"backends":\[\([^]]*\)\].*/\1/p' | tr -d '"' | tr , ' ')
[ -n "$BACKENDS" ] || fail "sockpick cannot trace on this kernel"
# It works in the background on whoever uses much memory, whenever it likes.
echo 100000000 >/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs
# The first batch after boot costs twice as much.
warm_up
