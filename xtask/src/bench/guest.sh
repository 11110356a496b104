# Measures in a guest whose nanoseconds are instructions. The bench appends what to measure,
# and sets CONNECTIONS, how many a sample has.

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

# Connections before those that count, in each load: a new process has pages to fill.
WARM=1000

# What the connections are like: a name with a slash, or none, and options of the load.
KIND= LIKE=

# sample NAME [PID]: what connections take once all has settled that comes once: the load's own
# process and its listener, whose owner is looked up.
sample() {
    settle
    told=$(sockpick-scenarios --load "$CONNECTIONS" --warm-up $WARM ${2:+--tool $2} $LIKE) ||
        fail "the load of $1 failed: $told"
    echo "SAMPLE $KIND$1 ${told#LOAD }"
    settle
}

# A first load has all start-up effects: owners looked up, pages and caches filled.
warm_up() {
    sockpick-scenarios --load 1 --warm-up $((WARM - 1)) $LIKE >/dev/null || fail "the load failed"
}

baseline() {
    warm_up
    sample baseline
    sample baseline
}

# measure NAME LINES OUTPUT COMMAND...: LINES is what a connection must leave in the output.
measure() {
    name=$1 lines=$2
    shift 2
    start "$@"
    warm_up
    set -- $(grep VmRSS "/proc/$tool/status")
    echo "RESIDENT $KIND$name $2"
    sample "$name" "$tool"
    sample "$name" "$tool"
    stop
    [ "$output" = /dev/null ] && return
    wanted=$((lines * (3 * WARM + 2 * CONNECTIONS)))
    found=$(grep -c . "$output") || [ "$wanted" -eq 0 ] || fail "$name said nothing"
    [ "$found" -ge "$wanted" ] || fail "$name said $found lines about $wanted connections"
    rm "$output"
}

# works SCRIPT: whether bpftrace can do that here; it says so once it has attached.
works() {
    timeout -s INT 5 bpftrace -e "$1" >/tmp/works 2>&1
    grep -q '^Attaching' /tmp/works && ! grep -q -E 'ERROR|Error|cannot|Aborted' /tmp/works
}

# Time that each probe of the daemon ran, all told.
probes() {
    wget -q -O - http://127.0.0.1:9464/metrics |
        sed -n 's/^sockpick_bpf_run_seconds_total{probe="\([^"]*\)"} /\1 /p'
}

# parts COMMAND...: what each probe of the daemon takes of so many connections.
parts() {
    echo 1 >/proc/sys/kernel/bpf_stats_enabled || return 0
    start /tmp/output "$@"
    warm_up
    settle
    probes >/tmp/before
    sockpick-scenarios --load "$CONNECTIONS" --warm-up $WARM >/dev/null || fail "the load of $1 failed"
    settle
    probes >/tmp/after
    stop
    echo 0 >/proc/sys/kernel/bpf_stats_enabled
    [ -s /tmp/after ] || fail "the daemon told nothing of its probes"
    awk -v many=$((CONNECTIONS + WARM)) 'NR == FNR { was[$1] = $2; next }
        { printf "PART %s %d %d\n", $1, many, ($2 - was[$1]) * 1e9 }' /tmp/before /tmp/after
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

# crowd LISTENERS NAMESPACES: they are there from now on.
crowd() {
    : >/tmp/crowd
    sockpick-scenarios --crowd "$1" --namespaces "$2" >/tmp/crowd 2>/tmp/messages &
    crowd=$!
    tries=0
    until grep -q ready /tmp/crowd; do
        [ $((tries += 1)) -lt 300 ] && kill -0 "$crowd" || fail "no $1 listeners in $2 namespaces"
        sleep 1
    done
    settle
}

# Namespaces go some time after their last process.
scatter() {
    kill "$crowd"
    wait "$crowd"
    sleep 20
}

# What the kernel reckons for the maps that a process has open, in bytes.
maps() {
    cat "/proc/$1/fdinfo"/* 2>/dev/null |
        awk '$1 == "memlock:" { bytes = $2 } $1 == "map_id:" { of[$2] = bytes }
            END { for (id in of) sum += of[id]; print sum + 0 }'
}

# began NAME COMMAND...: what it takes until the tool has attached, and what it has then. Reading
# a pipe waits for its words without looking again and again.
began() {
    name=$1
    shift
    : >/tmp/messages
    settle
    busy0=$(busy)
    "$@" >/tmp/output 2>/tmp/pipe &
    tool=$!
    exec 3</tmp/pipe
    said=
    until [ "${said#sockpick: tracing}" != "$said" ]; do
        read -r said <&3 || fail "$* did not start"
    done
    busy1=$(busy) ran1=$(ran "$tool")
    cat <&3 >/tmp/messages &
    exec 3<&-
    settle
    set -- $(grep VmRSS "/proc/$tool/status")
    echo "BEGAN $name $((busy1 - busy0)) $ran1 $2 $(maps "$tool")"
    stop
}

# burst NAME SYNS: one after the other without a pause; how many of them the tool told and lost.
# What is stopped has no processor for itself for as long as the burst lasts.
burst() {
    start /tmp/output sockpick trace -o json
    warm_up
    [ "$1" != stopped ] || kill -STOP "$tool"
    sockpick-scenarios --load $(($2 - 1)) --warm-up 1 >/dev/null || fail "the burst failed"
    kill -CONT "$tool"
    settle
    stop
    set -- "$1" "$2" $(sed -n 's/.* = \([0-9]*\) shown .* + \([0-9]*\) lost$/\1 \2/p' /tmp/messages)
    [ $# -eq 4 ] || fail "the summary does not say what was lost"
    echo "BURST $1 $2 $(($3 - WARM)) $4"
}

printf '[metrics]\nlisten = "127.0.0.1:9464"\n' >/tmp/daemon.toml
mkfifo /tmp/pipe
[ -r /proc/schedstat ] || fail "this kernel has no /proc/schedstat (CONFIG_SCHEDSTATS)"
: >/tmp/messages
echo "RELEASE $(uname -r)"
BACKENDS=$(sockpick doctor -o json | sed -n 's/.*"backends":\[\([^]]*\)\].*/\1/p' | tr -d '"' | tr , ' ')
[ -n "$BACKENDS" ] || fail "sockpick cannot trace on this kernel"
# It works in the background on whoever uses much memory, whenever it likes.
echo 100000000 >/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs
# The first batch after boot costs twice as much.
warm_up
