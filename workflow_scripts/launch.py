"""Starts workflow_scripts.train with the same arguments: in as many processes as --processes says, on devices that no other
job uses, in an environment that holds no settings of other launches. The workflow starts its runs this way."""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping

from peft_lib.study.launch import launch_command
from workflow_scripts.devices import own_devices, visible_devices
from workflow_scripts.errors import run

FOREIGN = (
    "ACCELERATE_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "DYNAMO_", "TORCHELASTIC_", "PMI_",
    "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_",
)  # fmt: skip
RANKS = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK",
    "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "FORK_LAUNCHED",
)  # fmt: skip


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what other launchers and users left for Accelerate and torch.distributed."""
    return {k: v for k, v in environment.items() if not k.startswith(FOREIGN) and k not in RANKS}


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
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(run(main))
