#!/bin/bash
# Process 1 of a compute node: takes the host's name and address, then runs slurmd.
# When slurmd ends, the host ends; in its own process list nothing can outlive it.
# Usage: host_init.sh MODE NAME ADDRESS ROOT
set -u
mode=$1 name=$2 address=$3 root=$4
conf=$root/etc/slurm.conf
without_powers=()
if [ "$mode" != loopback ]; then
    for _ in $(seq 500); do
        ip link show eth0 >/dev/null 2>&1 && break
        sleep 0.02
    done
    hostname "$name" &&
        ip link set lo up &&
        ip addr add "$address/24" dev eth0 &&
        ip link set eth0 up &&
        mount -t tmpfs -o size=1g tmpfs /dev/shm &&
        mount --bind "$root/scratch/$name" "$root/scratch" || exit 1
    # Jobs get no say over the network: the rights that a user namespace gave end here.
    [ "$mode" = rootless ] && without_powers=(setpriv --ambient-caps=-all --inh-caps=-all)
else
    # No namespace ends this host with its supervisor, so the kernel is asked to.
    without_powers=(setpriv --pdeathsig KILL)
fi
trap 'kill -TERM "$slurmd"' TERM
"${without_powers[@]}" slurmd -D -N "$name" -f "$conf" &
slurmd=$!
wait "$slurmd"
code=$?
# A TERM interrupts `wait`; the second one collects slurmd itself.
wait "$slurmd" 2>/dev/null
echo "slurmd of $name ended with code $code"
