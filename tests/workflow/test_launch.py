"""How runs are started: with devices of their own, a free port, and nothing of other launches in their environment."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from peft_lib.study.launch import (
    ACCELERATE_CONFIG,
    execution_arguments,
    launch_command,
    mirror_arguments,
    train_arguments,
)
from tests.runs import ROOT, spec_of, tiny_plan
from workflow_scripts import devices as module
from workflow_scripts.devices import DeviceError, own_devices, visible_devices
from workflow_scripts.launch import clean_environment

FOREIGN = {
    "ACCELERATE_USE_CPU": "false", "ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1",
    "MASTER_ADDR": "10.255.255.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "x",
}  # fmt: skip


def launched(out: Path, resources: Path, *flags: str, **environment: str) -> dict:
    """The result row of a run through workflow_scripts.launch."""
    command = [sys.executable, "-m", "workflow_scripts.launch", "--spec", spec_of("lora", epochs=1).canonical]
    command += ["--models", "tests/workflow/models.yaml", "--resources", str(resources), "--out", str(out), *flags]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return pq.read_table(out / "result.parquet").to_pylist()[0]


def test_settings_of_other_launches_change_nothing(tmp_path: Path, resources: Path) -> None:
    plain = launched(tmp_path / "plain", resources, "--device", "cpu")
    amid = launched(tmp_path / "amid", resources, "--device", "cpu", **FOREIGN)
    for name in ("test_loss", "val_loss", "train_loss", "train_loss_running", "test_metric", "processes", "threads"):
        assert amid[name] == plain[name], name
    assert (tmp_path / "amid/delta.safetensors").read_bytes() == (tmp_path / "plain/delta.safetensors").read_bytes()
    assert amid["command"].startswith("python -m workflow_scripts.train --spec ")


def test_two_processes_on_a_processor(tmp_path: Path, resources: Path) -> None:
    row = launched(tmp_path, resources, "--device", "cpu", "--processes", "2", **FOREIGN)
    assert row["processes"] == 2 and row["status"] == "ok"


def test_the_environment_is_cleaned_of_launchers_only() -> None:
    kept = {"PATH": "/bin", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "1", "RANKING": "x", "NCCL_DEBUG": "INFO"}
    assert clean_environment({**kept, **FOREIGN}) == kept


PROBE = "import json, os, sys; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('ACCELERATE_')}))"


def test_a_users_accelerate_configuration_has_no_say(tmp_path: Path) -> None:
    """`accelerate launch` itself, as a run on CUDA is started; on a machine without, it starts one process as well."""
    (tmp_path / "accelerate").mkdir()
    theirs = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "NO",
        "mixed_precision": "fp16",
        "debug": True,
    }
    theirs |= {"dynamo_config": {"dynamo_backend": "INDUCTOR"}, "num_processes": 7, "gpu_ids": "5", "use_cpu": True}
    (tmp_path / "accelerate/default_config.yaml").write_text(yaml.safe_dump(theirs))
    (tmp_path / "probe.py").write_text(PROBE)
    environment = {**clean_environment(os.environ), "HF_HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        launch_command(1, cuda=True, module="probe"), env=environment, capture_output=True, text=True, check=True
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["ACCELERATE_MIXED_PRECISION"] == "no" and seen["ACCELERATE_DYNAMO_BACKEND"] == "NO"
    assert seen["ACCELERATE_USE_CPU"] == "False" and "ACCELERATE_DEBUG_MODE" not in seen


def test_launches_find_a_free_port_and_name_our_configuration() -> None:
    single, several = launch_command(1, cuda=True), launch_command(2, cuda=True)
    for command in (single, several):
        assert command[command.index("--config_file") + 1] == str(ACCELERATE_CONFIG) and ACCELERATE_CONFIG.is_file()
        assert command[command.index("--main_process_port") + 1] == "0"
    assert "--multi_gpu" in several and "--multi_gpu" not in single
    assert "--standalone" in launch_command(2, cuda=False)
    assert launch_command(1, cuda=False) == [sys.executable, "-m", "workflow_scripts.train"]


def test_a_recorded_command_has_all_flags() -> None:
    plan = tiny_plan(micro_batch=8, keep="both", processes=2, deterministic=False, execution="dense", threads=3)
    run_id = next(iter(plan.runs))
    arguments = train_arguments(plan, run_id)
    for flag, value in (
        ("--spec", plan.runs[run_id].canonical), ("--fingerprint", plan.fingerprint(run_id)), ("--micro-batch", "8"),
        ("--keep", "both"), ("--processes", "2"), ("--execution", "dense"), ("--threads", "3"), ("--device", "cpu"),
        ("--models", "tests/workflow/models.yaml"), ("--datasets", "config/datasets.yaml"),
    ):  # fmt: skip
        assert arguments[arguments.index(flag) + 1] == value
    assert arguments[-1] == "--nondeterministic"
    assert set(execution_arguments(plan, run_id)) < set(arguments)
    assert "--storage" not in arguments and "--gradient-checkpointing" not in arguments


def test_how_a_run_is_executed_is_its_own() -> None:
    rule = {"when": {"method": "fft"}, "how": {"storage": "bf16", "gradient_checkpointing": True}, "source": "test"}
    plan = tiny_plan(rules=[rule])
    for run_id, spec in plan.runs.items():
        arguments = train_arguments(plan, run_id)
        assert ("--gradient-checkpointing" in arguments) == (spec.method == "fft")
        assert ("--storage" in arguments and "bf16" in arguments) == (spec.method == "fft")


def test_the_mirror_is_the_studys_or_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEYOND_LORA_MIRROR", raising=False)
    assert mirror_arguments(tiny_plan().study) == []
    monkeypatch.setenv("BEYOND_LORA_MIRROR", "/somewhere")
    assert mirror_arguments(tiny_plan().study) == ["--mirror", "/somewhere"]
    assert mirror_arguments(tiny_plan(assets={"mirror": "/mine"}).study) == ["--mirror", "/mine"]


@pytest.mark.parametrize(
    ("listed", "devices"),
    [
        ("0,1", ("0", "1")), ("3", ("3",)), ("", ()), ("-1", ()), ("0,-1,1", ("0",)),
        ("GPU-8a, MIG-b/1/0", ("GPU-8a", "MIG-b/1/0")),
    ],
)  # fmt: skip
def test_devices_are_those_that_cuda_would_see(
    monkeypatch: pytest.MonkeyPatch, listed: str, devices: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_devices() == devices


def test_devices_of_the_driver_and_of_nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(module, "DRIVER", tmp_path / "gpus")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_devices() == ()  # no driver, no nvidia-smi
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)'\necho '  MIG 1g Device 0: (UUID: MIG-1)'\n")
    script.chmod(0o755)
    assert visible_devices() == ("0",)
    (tmp_path / "gpus/0000:01:00.0").mkdir(parents=True)
    (tmp_path / "gpus/0000:02:00.0").mkdir()
    assert visible_devices() == ("0", "1")


def test_jobs_at_the_same_time_take_different_devices(tmp_path: Path) -> None:
    """Eight jobs of one device and two of two, on three devices: never is one held twice, and all get their turn."""
    busy: list[str] = []
    most, done, guard = [0], [], threading.Lock()

    def job(count: int) -> None:
        with own_devices(count, ("0", "1", "GPU-a/b"), tmp_path) as mine:
            with guard:
                assert len(mine) == count and not set(mine) & set(busy)
                busy.extend(mine)
                most[0] = max(most[0], len(busy))
            time.sleep(0.02)
            with guard:
                for device in mine:
                    busy.remove(device)
                done.append(count)

    module_pause, module.PAUSE_S = module.PAUSE_S, 0.005
    try:
        threads = [threading.Thread(target=job, args=(count,)) for count in (1, 2, 1, 1, 1, 2, 1, 1, 1, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    finally:
        module.PAUSE_S = module_pause
    assert sorted(done) == [1] * 8 + [2] * 2 and most[0] <= 3 and busy == []


def test_a_killed_job_gives_its_device_back(tmp_path: Path) -> None:
    hold = f"from workflow_scripts.devices import *\nwith own_devices(1, ('0',), Path({str(tmp_path)!r})):\n"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{hold}    print('held', flush=True); time.sleep(60)"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    waiter = subprocess.Popen(
        [sys.executable, "-c", f"{hold}    print('mine', flush=True)"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert waiter.stdout is not None and waiter.stdout.readline().startswith("waiting for 1 of the devices 0")
    holder.kill()
    holder.wait()
    assert waiter.communicate(timeout=60)[0] == "mine\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_processes_of_a_run_end_with_it(tmp_path: Path, number: signal.Signals) -> None:
    """A launcher's own processes, too: `accelerate launch` leaves its child behind when it is terminated."""
    nested = "import subprocess as s; p = s.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    script = f"import os, sys; from workflow_scripts.launch import *; supervised([sys.executable, '-c', {nested!r}], os.environ)"
    launch = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert launch.stdout is not None
    sleeper = int(launch.stdout.readline())
    launch.send_signal(number)
    launch.wait(timeout=30)
    for _ in range(100):
        status = Path(f"/proc/{sleeper}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.05)
    pytest.fail(f"process {sleeper} is still there")


def test_a_run_that_needs_more_devices_is_refused(tmp_path: Path) -> None:
    refusal = r"2 processes on CUDA needs as many devices; this machine shows 0 .*fewer"
    with pytest.raises(DeviceError, match=refusal), own_devices(2, ("0",), tmp_path):
        pass
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.launch", "--spec", "{}", "--device", "cuda"],
        cwd=ROOT, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "shows none" in done.stderr and "Traceback" not in done.stderr
