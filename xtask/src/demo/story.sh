# The story of restarts, after servers.sh, with sockpick watching: see record.rs for its lines.
REQUESTS=6
port=40100

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
