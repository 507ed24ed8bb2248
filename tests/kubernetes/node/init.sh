#!/usr/bin/env bash
# pid 1 of the cluster's namespaces: makes them a node of their own, then runs the components and reaps orphans.
# Arguments: the state folder, the folder of programs, this folder, and the harness's program.
# Everything it mounts is seen in these namespaces alone, and goes with them.
set -euo pipefail
state=$1 programs=$2 conf=$3 cluster=$4
hostname lockstep-node

# /run is new and holds all that the components need at fixed paths, so that no configuration names a folder of this machine.
mount -t tmpfs -o mode=755 run "$state/run"
mkdir "$state/run/lockstep" "$state/run/programs" "$state/run/conf" "$state/run/etc" "$state/run/sys"
touch "$state/run/cluster"
mount --bind "$state" "$state/run/lockstep"
mount --bind "$programs" "$state/run/programs"
mount --bind "$conf" "$state/run/conf"
mount --bind "$cluster" "$state/run/cluster"
mount --rbind "$state/run" /run

# kubelet and CNI write into fixed folders below these two; the machine's own are hidden, not touched.
mount -t tmpfs -o mode=755 lib /var/lib
mount -t tmpfs -o mode=755 log /var/log
mkdir /var/lib/kubelet /var/log/pods
mount --bind /run/lockstep/kubelet /var/lib/kubelet
mount --bind /run/lockstep/pods /var/log/pods

# sysfs of this network namespace, and the cgroups below our own.
mount -t sysfs sysfs /sys
if [ "$(cut -d: -f1 /proc/self/cgroup)" = 0 ]; then
  mount -t cgroup2 cgroup /sys/fs/cgroup
  # In cgroup v2 only leaves hold processes: ours move aside before controllers can be handed down.
  mkdir /sys/fs/cgroup/init
  for process in $(cat /sys/fs/cgroup/cgroup.procs); do echo "$process" > /sys/fs/cgroup/init/cgroup.procs || true; done
  for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control; done
else
  mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
  while IFS=: read -r _ controllers _; do
    case $controllers in
      '') continue ;;
      name=*) options=none,$controllers ;;
      *) options=$controllers ;;
    esac
    mkdir "/sys/fs/cgroup/${controllers#name=}"
    mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/${controllers#name=}"
  done < /proc/self/cgroup
fi

# kubelet insists on these kernel settings, which belong to the whole machine: it is shown files that already hold them.
show() {
  echo "$2" > "/run/sys/${1//\//_}"
  mount --bind "/run/sys/${1//\//_}" "/proc/sys/$1"
}
show vm/overcommit_memory 1
show kernel/panic 10
show kernel/panic_on_oops 1

printf 'nameserver 10.88.0.1\nsearch cluster.local\n' > /run/etc/resolv.conf
mount --bind /run/etc/resolv.conf /etc/resolv.conf
printf '127.0.0.1 localhost\n10.88.0.1 lockstep-node\n' > /run/etc/hosts
mount --bind /run/etc/hosts /etc/hosts
mount --make-rshared / # containers see what kubelet mounts for them

# Loopback, and a pair of interfaces that leads nowhere for the node's address.
ip link set lo up
ip link add node0 type veth peer name node1
ip address add 10.88.0.1/24 dev node0
ip link set node0 up
ip link set node1 up
ip route add default dev node0
for setting in net/ipv4/ip_forward net/bridge/bridge-nf-call-iptables; do
  if [ -e "/proc/sys/$setting" ]; then echo 1 > "/proc/sys/$setting"; fi
done
if [ -e /proc/sys/net/ipv6 ]; then echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; fi

export PATH=/run/programs/bin:$PATH
/run/cluster node <&0 &
wait $! # bash reaps every orphan meanwhile; once this process ends the kernel ends all others
