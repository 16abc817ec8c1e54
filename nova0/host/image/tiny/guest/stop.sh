#!/bin/sh
# Before power goes: what was written is kept.
sync
umount /root /etc/dropbear /var 2>/dev/null
umount /disk 2>/dev/null || mount -o remount,ro /disk 2>/dev/null
sync
