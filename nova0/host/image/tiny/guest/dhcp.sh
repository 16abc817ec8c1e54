#!/bin/sh
# What udhcpc calls: addresses, MTU, routes (option 121 replaces the router option, RFC 3442), DNS.
case $1 in
deconfig) ip addr flush dev "$interface" ;;
bound | renew)
  [ -n "$mtu" ] && ip link set "$interface" mtu "$mtu"
  ip addr replace "$ip/${mask:-24}" dev "$interface"
  metric=$((${interface#eth} * 10))
  if [ -n "$staticroutes" ]; then
    set -- $staticroutes
    while [ $# -ge 2 ]; do
      case $2 in
      0.0.0.0) ip route replace "$1" dev "$interface" metric $metric ;;
      *) ip route replace "$1" via "$2" dev "$interface" metric $metric ;;
      esac
      shift 2
    done
  elif [ -n "$router" ]; then
    ip route replace default via "${router%% *}" dev "$interface" metric $metric
  fi
  if [ -n "$dns" ]; then
    for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
  fi
  ;;
esac
