#!/bin/sh
# The first process of a guest with systemd: makes way for it. The file system that the kernel
# unpacked becomes a mount of its own, as on a host: the kernel's first one cannot be exchanged for
# another (pivot_root), and sandboxes would be made in another way.
export PATH=/usr/sbin:/usr/bin
mount -o bind / /mnt
cd /mnt || exit
mount -o move . /
exec chroot . /usr/lib/systemd/systemd
