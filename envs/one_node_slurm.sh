#!/usr/bin/env bash
# A real Slurm of one node, without systemd and without accounting: for the tests, and for trying the cluster profile.
#
#   envs/one_node_slurm.sh start  [--dir DIR]   start what is not running yet; prints `export SLURM_CONF=...`
#   envs/one_node_slurm.sh status [--dir DIR]   show the node; fails if the cluster does not answer
#   envs/one_node_slurm.sh stop   [--dir DIR]   cancel its jobs and stop what `start` started, and nothing else
#
#   eval "$(envs/one_node_slurm.sh start)"      start it and use it from this shell
#
# DIR (default: $ONE_NODE_SLURM_DIR, else /tmp/one_node_slurm) holds configuration, key, state, logs, and a line per
# finished job (jobs.txt). Needs root and Debian's packages slurm-wlm and munge. /etc/slurm and a munge that already runs
# are left alone; outside DIR there is only the link /run/slurm/conf, where `srun` looks inside a job: Snakemake's executor
# hides SLURM_CONF there. One such cluster at a time on a machine, and none beside a Slurm of the machine's own.
# ONE_NODE_SLURM_CPUS: processors that the node claims (default: those of this machine).
# ONE_NODE_SLURM_WAIT: seconds to wait for a daemon or for the node (default: 60).
set -euo pipefail

PATH="$PATH:/usr/sbin:/sbin"
wait_s="${ONE_NODE_SLURM_WAIT:-60}"

say() { echo "one_node_slurm: $*" >&2; }
die() {
    say "$*"
    exit 1
}
usage() { die "usage: one_node_slurm.sh start|status|stop [--dir DIR]"; }

[[ $# -ge 1 ]] || usage
action="$1"
dir="${ONE_NODE_SLURM_DIR:-/tmp/one_node_slurm}"
if [[ $# -eq 3 && "$2" == --dir ]]; then
    dir="$3"
elif [[ $# -ne 1 ]]; then
    usage
fi
[[ "$dir" =~ ^[A-Za-z0-9/._-]+$ ]] || die "the folder's name may hold letters, digits and / . _ - only: $dir"
dir="$(realpath -m "$dir")"
export SLURM_CONF="$dir/slurm.conf"
munge_socket="$dir/munge.socket"
link=/run/slurm/conf

# pid_of NAME: the daemon that we started, if it still runs (the number in a pid file may belong to somebody else by now)
pid_of() {
    local pid
    pid="$(cat "$dir/$1.pid" 2>/dev/null)" || return 1  # a daemon removes the file when it ends
    [[ "$pid" =~ ^[0-9]+$ && "$(cat "/proc/$pid/comm" 2>/dev/null)" == "$1" ]] || return 1
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -e "$dir/" || return 1
    echo "$pid"
}
alive() { pid_of "$1" >/dev/null 2>&1; }

# wait_for WHAT LOG COMMAND...: until COMMAND succeeds; otherwise the end of LOG
wait_for() {
    local what="$1" log="$2" end=$((SECONDS + wait_s))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            say "$what not reached after $wait_s s; the last lines of $log:"
            tail -n 20 "$log" >&2 || true
            exit 1
        fi
        sleep 0.2
    done
}

free_ports() {
    python3 -c '
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in held))'
}

write_config() {
    local ports host cpus memory
    host="$(hostname -s)"
    cpus="${ONE_NODE_SLURM_CPUS:-$(nproc)}"
    memory="$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)"
    read -r -a ports <<<"$(free_ports)"
    # NodeAddr: the machine's name need not resolve. proctrack and task: no cgroups. config_overrides: a node may claim
    # more processors than it has.
    cat >"$dir/slurm.conf.new" <<CONF
ClusterName=onenode
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmdPort=${ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$munge_socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=defer,sched_interval=1,batch_sched_delay=0
ReturnToService=2
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/jobs.txt
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    mv "$dir/slurm.conf.new" "$SLURM_CONF"
}

start_munge() {
    alive munged && return
    rm -f "$munge_socket"
    if [[ ! -s "$dir/munge.key" ]]; then
        (umask 077 && head -c 128 /dev/urandom >"$dir/munge.key")
    fi
    # --force: as root, and in a folder that others may write to (/tmp), which it would otherwise refuse
    munged --force --key-file "$dir/munge.key" --socket "$munge_socket" --pid-file "$dir/munged.pid" \
        --log-file "$dir/munged.log" --seed-file "$dir/munged.seed" --num-threads 2 >>"$dir/munged.out" 2>&1 ||
        die "munged did not start: $(tail -n 5 "$dir/munged.out")"
    wait_for "munged that answers" "$dir/munged.log" munge --socket "$munge_socket" --no-input
}

node_is_idle() { [[ "$(sinfo --noheader --format=%T)" =~ ^(idle|mixed|allocated)$ ]]; }

start() {
    local name
    [[ $EUID -eq 0 ]] || die "Slurm's daemons start jobs for users: run as root"
    for name in munged munge slurmctld slurmd sinfo python3; do
        command -v "$name" >/dev/null || die "$name is not installed (Debian: apt install slurm-wlm munge)"
    done
    [[ ! -e /etc/slurm/slurm.conf ]] || die "this machine has a Slurm of its own (/etc/slurm/slurm.conf): use that"
    if [[ -e "$link" && ! "$link" -ef "$dir" ]]; then
        die "$link points to another cluster; another Slurm runs here, or was not stopped:" \
            "one_node_slurm.sh stop --dir $(readlink -f "$link")"
    fi
    mkdir -p "$dir/state" "$dir/spool" "${link%/*}"
    chmod 755 "$dir"
    ln -sfn "$dir" "$link"
    alive slurmctld || alive slurmd || write_config
    start_munge
    # the daemons must not inherit an open pipe of the caller, or $(... start) would wait for them for ever
    alive slurmctld || slurmctld -c -f "$SLURM_CONF" </dev/null >>"$dir/slurmctld.log" 2>&1 ||
        die "slurmctld did not start: $(tail -n 5 "$dir/slurmctld.log")"
    wait_for "slurmctld that answers" "$dir/slurmctld.log" scontrol ping
    alive slurmd || slurmd -f "$SLURM_CONF" </dev/null >>"$dir/slurmd.log" 2>&1 ||
        die "slurmd did not start: $(tail -n 5 "$dir/slurmd.log")"
    wait_for "an idle node" "$dir/slurmd.log" node_is_idle
    say "$(sinfo --noheader --format='partition %P, node %N: %T, %c processors, %m MB') (folder $dir)"
    echo "export SLURM_CONF=$SLURM_CONF"
}

stop_daemon() {
    local name="$1" pid end=$((SECONDS + 20))
    if pid="$(pid_of "$name" 2>/dev/null)"; then
        kill -TERM "$pid" 2>/dev/null || true
        while alive "$name"; do
            if ((SECONDS >= end)); then
                say "$name ($pid) ignores SIGTERM: killed"
                kill -KILL "$pid" 2>/dev/null || true
                break
            fi
            sleep 0.1
        done
    fi
    rm -f "$dir/$name.pid"
}

no_jobs() { [[ -z "$(squeue --noheader)" ]]; }

stop() {
    if alive slurmctld && ! no_jobs; then
        say "cancelling $(squeue --noheader | wc -l) jobs"
        scancel --user="$(id -un)" || true
        (wait_for "an empty queue" "$dir/slurmctld.log" no_jobs) || true
    fi
    stop_daemon slurmd
    stop_daemon slurmctld
    stop_daemon munged
    rm -f "$munge_socket" "$munge_socket.lock"
    if [[ "$link" -ef "$dir" ]]; then
        rm -f "$link"
        rmdir --ignore-fail-on-non-empty "${link%/*}"
    fi
    say "stopped; logs stay in $dir"
}

status() {
    local name
    for name in munged slurmctld slurmd; do
        if alive "$name"; then say "$name runs"; else die "$name does not run (folder $dir)"; fi
    done
    sinfo
    squeue
}

case "$action" in
    start | stop | status) "$action" ;;
    *) usage ;;
esac
