"""Starts workflow_scripts.train with the same arguments: in as many processes as --processes says, on devices that no other
job uses, in an environment that holds no settings of other launches. The workflow starts its runs this way."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Mapping

from peft_lib.study.launch import launch_command
from peft_lib.training.environment import is_foreign
from workflow_scripts.devices import own_devices, visible_devices
from workflow_scripts.errors import run


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what other launchers and users left for Accelerate and torch.distributed."""
    return {name: value for name, value in environment.items() if not is_foreign(name)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, add_help=False)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--processes", type=int, default=1)
    options, _ = parser.parse_known_args()
    arguments, environment = sys.argv[1:], clean_environment(os.environ)
    devices = visible_devices()
    if options.device == "cpu" or (options.device == "auto" and not devices):
        command = [*launch_command(options.processes, cuda=False), *arguments]
        sys.stdout.flush()
        os.execve(command[0], command, environment)
    with own_devices(options.processes, devices) as mine:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
        command = [*launch_command(options.processes, cuda=True), *arguments]
        return supervised(command, environment)


def supervised(command: list[str], environment: Mapping[str, str]) -> int:
    """Runs a command with all its processes as one group, which ends as a whole when this process is asked to: none is left
    behind on a device whose lock is given back. Returns the exit status."""
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: os.killpg(process.pid, number))
    return process.wait()


if __name__ == "__main__":
    sys.exit(run(main))
