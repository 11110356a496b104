#!/bin/sh
# The guest's first process: prepares the ground for one command.
export PATH=/usr/sbin:/usr/bin

# A kernel may lack one or another of these; whoever needs it will say so.
try_mount() {
    mount "$@" 2>/dev/null
}
try_mount -t proc proc /proc
try_mount -t sysfs sysfs /sys
try_mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
try_mount -t devpts devpts /dev/pts
try_mount -t tmpfs tmpfs /dev/shm
try_mount -t tmpfs tmpfs /run
try_mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp /dev/shm
ln -s /proc/self/fd /dev/fd 2>/dev/null
mkdir -p /run/lock /run/netns /run/sockpick
try_mount -t debugfs debugfs /sys/kernel/debug
try_mount -t tracefs tracefs /sys/kernel/tracing
try_mount -t bpf bpf /sys/fs/bpf
try_mount -t securityfs securityfs /sys/kernel/security
try_mount -t cgroup2 cgroup2 /sys/fs/cgroup
hostname guest
ifconfig lo 127.0.0.1 up
ifconfig lo add ::1/128 2>/dev/null

. /guest-command
