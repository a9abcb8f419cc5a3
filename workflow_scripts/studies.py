"""Plans for commands: of a study file, or of what a call of Snakemake would carry out, from the same flags. From the cache
where the same was planned before."""

import argparse
import sys
from pathlib import Path
from typing import Any

from peft_lib.study.cost import PROCESSORS, Processor
from peft_lib.study.documents import read_yaml
from peft_lib.study.plan import Plan
from peft_lib.study.plan_cache import Found, plan_config, plan_file
from peft_lib.study.problems import Problem, StudyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--configfile",
        nargs="+",
        default=["config.yaml"],
        metavar="FILE",
        help="study files, later ones win (config.yaml)",
    )
    parser.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as Snakemake's --config")
    parser.add_argument("--only", metavar="PART", help="as --config only=PART, e.g. '{artefact: table9, seed: 12}'")
    parser.add_argument("--root", default=".", type=Path, help="folder that the study's paths start at")
    parser.add_argument("--results", default="results", type=Path)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], help="in place of the study's own")
    kinds = [name for name in PROCESSORS if name != "cpu"]
    parser.add_argument("--gpu", choices=kinds, default=kinds[0], help="kind of GPU that formulas assume (%(default)s)")


def plan_of(path: Path | str, root: Path | str = ".") -> Plan:
    """The plan of a study file. Raises StudyError for what cannot be planned."""
    return _noted(plan_file(path, root))


def planned(options: argparse.Namespace) -> Plan:
    """The plan of a call, its warnings printed. Raises StudyError for what cannot be planned, or cannot be merged."""
    plan = _noted(plan_config(merged(options), options.configfile, options.root))
    for warning in plan.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return plan


def _noted(found: Found) -> Plan:
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    return found.plan


def merged(options: argparse.Namespace) -> dict[str, Any]:
    """As Snakemake merges: mappings key by key, everything else replaced, the command line last; with its own functions."""
    from snakemake.cli import parse_config
    from snakemake.utils import update_config

    config: dict[str, Any] = {}
    for file in options.configfile:
        update_config(config, read_yaml(file)[0])
    entries = [*options.config, *([f"only={options.only}"] if options.only else [])]
    try:
        update_config(config, parse_config(entries))
    except ValueError as error:
        raise StudyError(
            [Problem("--config", " ".join(entries), str(error), "write KEY=VALUE")], "command line"
        ) from error
    return config


def processor_of(plan: Plan, options: argparse.Namespace) -> tuple[Processor, bool]:
    """What formulas assume that runs compute on, and whether it is a GPU; `auto` looks at this machine."""
    from workflow_scripts.devices import visible_devices

    wanted = options.device or plan.study.device
    cuda = wanted == "cuda" or (wanted == "auto" and bool(visible_devices()))
    return PROCESSORS[options.gpu if cuda else "cpu"], cuda
