#!/bin/sh
# Runs the guest's command and reports its exit status. The kernel's console is ttyS0; the command
# alone has ttyS1, so that the two never mix.
export PATH=/include:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
export HOME=/root LANG=C.UTF-8 TERM=dumb NO_COLOR=1 SOCKPICK_GUEST=1

stty -F /dev/ttyS1 raw -echo 2>/dev/null
cd /root || exit
printf '\036sockpick-guest up\n' >/dev/ttyS1
setsid /run-command </dev/null >/dev/ttyS1 2>&1
printf '\036sockpick-guest exit %d\n' $? >/dev/ttyS1
# The host ends the machine when it has read that. This is for a host that is not there any more.
sleep 10
poweroff -f
