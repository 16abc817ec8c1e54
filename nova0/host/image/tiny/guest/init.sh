#!/bin/busybox sh
# First process of the guest: makes the tree, loads drivers, mounts the disk, then becomes busybox init.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
while read -r module; do
  insmod "/lib/modules/$module" 2>/dev/null || echo "nova0-tiny: driver $module not loaded" >/dev/console
done </lib/modules/early
ip link set lo up
hostname -F /etc/hostname

# The first disk without a label is ours; made on first boot, grown never (the flavor's size is there at once).
disk=
for candidate in /dev/vda /dev/sda; do
  [ -b "$candidate" ] && [ "$(cat "/sys/block/${candidate#/dev/}/ro")" = 0 ] && { disk=$candidate; break; }
done
if [ -n "$disk" ]; then
  if ! mount -t ext4 -o noatime "$disk" /disk 2>/dev/null; then
    if [ "$(head -c 65536 "$disk" | tr -d '\000' | wc -c)" = 0 ]; then
      mke2fs -q -F -L nova0-tiny -m 0 -I 256 -i 16384 -O has_journal,extents,flex_bg,uninit_bg,huge_file \
        -E lazy_itable_init=1,lazy_journal_init=1,nodiscard "$disk" >/dev/null 2>&1
      mount -t ext4 -o noatime "$disk" /disk || echo "nova0-tiny: $disk cannot be used, nothing will be kept" >/dev/console
    else
      echo "nova0-tiny: $disk holds something unknown; left alone, nothing will be kept" >/dev/console
    fi
  fi
fi
if grep -q ' /disk ' /proc/mounts; then
  mkdir -p /disk/root /disk/etc/dropbear /disk/var
  mount --bind /disk/root /root
  mount --bind /disk/etc/dropbear /etc/dropbear
  mount --bind /disk/var /var
fi
mkdir -p /root/.ssh /var/log /var/lib
chmod 700 /root /root/.ssh
acpid -c /etc/acpi -l /dev/null # early: a power button nobody hears is lost
exec /bin/busybox init
