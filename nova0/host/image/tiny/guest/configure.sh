#!/bin/sh
# Once per boot: addresses, the instance's own data (config drive, else 169.254.169.254), sshd, user data.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
said() { echo "nova0-tiny $*" >/dev/console; }

late_drivers() {
  while read -r module; do insmod "/lib/modules/$module" 2>/dev/null; done </lib/modules/late
  rm -f /lib/modules/late && : >/lib/modules/late
}

config_drive() {
  for try in now later; do
    drive=$(findfs LABEL=config-2 2>/dev/null)
    if [ -n "$drive" ] && mount -t iso9660 -o ro "$drive" /mnt 2>/dev/null; then
      cp /mnt/openstack/latest/meta_data.json /run/meta_data.json 2>/dev/null
      cp /mnt/openstack/latest/user_data /run/user_data 2>/dev/null
      umount /mnt
      [ -s /run/meta_data.json ] && return 0
    fi
    [ $try = now ] && late_drivers
  done
  return 1
}

fetch() { # path, file: HTTP/1.0, because this busybox's wget does not survive
  printf 'GET %s HTTP/1.0\r\nHost: 169.254.169.254\r\n\r\n' "$1" | nc -w 3 169.254.169.254 80 >/run/answer 2>/dev/null
  head -n 1 /run/answer | grep -q ' 200 ' && sed '1,/^\r*$/d' /run/answer >"$2"
}

first=
for path in /sys/class/net/eth*; do
  [ -e "$path" ] || continue
  nic=${path##*/}
  ip link set "$nic" up
  if [ -z "$first" ]; then
    first=$nic
    udhcpc -i "$nic" -s /etc/dhcp.sh -t 15 -T 1 -A 1 -n -S -O staticroutes -O mtu >/dev/null 2>&1 ||
      said "no DHCP answer on $nic"
  else
    udhcpc -i "$nic" -s /etc/dhcp.sh -b -t 15 -T 1 -S -O staticroutes -O mtu >/dev/null 2>&1 &
  fi
done

source=none
if config_drive; then
  source=config-drive
elif [ -n "$(ip -4 -o addr show dev "${first:-lo}" scope global)" ]; then
  for try in 1 2 3 4 5 6 7 8 9 10; do
    if fetch /openstack/latest/meta_data.json /run/meta_data.json; then
      source=metadata
      fetch /openstack/latest/user_data /run/user_data
      break
    fi
    sleep 1
  done
fi

if [ -s /run/meta_data.json ]; then
  name=$(sed -n 's/.*"hostname": *"\([^"]*\)".*/\1/p' /run/meta_data.json | head -n 1)
  [ -n "$name" ] && hostname "$name" && echo "$name" >/etc/hostname && echo "127.0.0.1 localhost $name" >/etc/hosts
  grep -o '"\(ssh-\|ecdsa-\|sk-\)[^"]*"' /run/meta_data.json | tr -d '"' | sed 's/\\n$//; s,\\/,/,g' | sort -u >/run/keys
  touch /root/.ssh/authorized_keys
  while read -r key; do
    grep -qxF "$key" /root/.ssh/authorized_keys || echo "$key" >>/root/.ssh/authorized_keys
  done </run/keys
  chmod 600 /root/.ssh/authorized_keys
  password=$(sed -n 's/.*"admin_pass": *"\([^"\\]*\)".*/\1/p' /run/meta_data.json | head -n 1)
  [ -n "$password" ] && sed -i "s|^root:[^:]*:|root:$(mkpasswd -m sha512 "$password"):|" /etc/shadow
fi

[ -s /etc/dropbear/ed25519 ] || dropbearkey -t ed25519 -f /etc/dropbear/ed25519 >/dev/null 2>&1
passwords=-s
grep -q '^root:\$' /etc/shadow && passwords=
dropbear -r /etc/dropbear/ed25519 $passwords
address=$(ip -4 -o addr show dev "${first:-lo}" scope global | sed -n 's,.* inet \([0-9.]*\)/.*,\1,p' | head -n 1)
uuid=$(sed -n 's/.*"uuid": *"\([^"]*\)".*/\1/p' /run/meta_data.json 2>/dev/null | head -n 1)
said "data: $source; up after $(cut -d' ' -f1 /proc/uptime) s"
said "ready: $(hostname) ${address:-no-address}"

# User data runs once for each instance, after ssh answers, so that a long script hides nothing.
if [ -s /run/user_data ] && [ "$(cat /var/lib/instance 2>/dev/null)" != "${uuid:-none}" ]; then
  echo "${uuid:-none}" >/var/lib/instance
  if [ "$(head -c 2 /run/user_data)" = '#!' ]; then
    cp /run/user_data /var/lib/user_data && chmod 700 /var/lib/user_data
    (/var/lib/user_data 2>&1; said "user data ended: $?") | tee /var/log/user_data.log >/dev/console &
  else
    said "user data is not a #! script; kept in /run/user_data"
  fi
fi
