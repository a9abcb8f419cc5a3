"""Writes the lock file of a data set catalog: which rows each split has, and the hub's commit.

    python -m workflow_scripts.lock_datasets --catalog config/datasets.yaml                    from the hub, with internet
    python -m workflow_scripts.lock_datasets --catalog config/datasets.yaml --mirror FOLDER    what the mirror has in full

The first fills in commits and content; the second content alone. What was locked and now differs is refused, unless --replace.
A split that cannot be read keeps the entry that it has. The exit status is 1 if any was not read.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from peft_lib.data.addresses import SourceError, parse
from peft_lib.data.loaders import get_loader
from peft_lib.data.lock import LockError, locked_split
from peft_lib.data.sources import open_source
from peft_lib.files import write_text
from peft_lib.names import did_you_mean
from peft_lib.study.catalogs import DatasetEntry, Lock
from peft_lib.study.loading import load_datasets, lock_file
from workflow_scripts.errors import run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalog", type=Path, default=Path("config/datasets.yaml"), help="data set catalog")
    parser.add_argument("--mirror", type=Path, help="data mirror to read instead of the hub")
    parser.add_argument("--dataset", action="append", help="only this data set (may be repeated)")
    parser.add_argument("--replace", action="store_true", help="take content that differs from what was locked")
    args = parser.parse_args()
    entries = load_datasets(args.catalog)
    for name in args.dataset or ():
        if name not in entries:
            raise SourceError(f"no data set '{name}' in {args.catalog}.{did_you_mean(name, entries)}")
    locks = {name: entry.lock for name, entry in entries.items() if entry.lock}
    unread = []
    with tempfile.TemporaryDirectory(prefix="beyond_lora_hub_") as cache:
        # what only a mirror has is locked from a mirror
        schemes = ("hub", "mirror") if args.mirror or args.dataset else ("hub",)
        for name, entry in entries.items():
            if parse(entry.source).scheme in schemes and (not args.dataset or name in args.dataset):
                locks[name], problems = lock_of(entry, args.mirror, args.replace, Path(cache))
                unread += [f"{name}: {problem}" for problem in problems]
    text = {name: locks[name].model_dump(mode="json") for name in entries if name in locks}
    write_text(lock_file(args.catalog), json.dumps(text, indent=1) + "\n")
    for line in unread:
        print(f"not locked: {line}", file=sys.stderr)
    return 1 if unread else 0


def lock_of(entry: DatasetEntry, mirror: Path | None, replace: bool, cache: Path) -> tuple[Lock, list[str]]:
    """The entry's lock as far as its splits can be read, and why others cannot.

    Raises:
        LockError: if a split's content differs from what was locked, and `replace` is not set.
    """
    loader = get_loader(entry.loader)
    columns = tuple(loader.COLUMNS)
    old = entry.lock if entry.lock and (entry.lock.source, entry.lock.columns) == (entry.source, columns) else None
    splits = dict(old.splits) if old else {}
    commit, problems = old.commit if old else None, []
    try:
        files = getattr(loader, "HUB_FILES", None)
        source = open_source(entry.source, mirror, columns=columns, files=files, cache=cache)
    except SourceError as error:
        return Lock(source=entry.source, commit=commit, columns=columns, splits=splits), [str(error)]
    for split in loader.marks(entry.options):
        try:
            found = locked_split(source.split(split), columns)
        except SourceError as error:
            problems.append(str(error))
            continue
        if splits.get(split, found) != found and not replace:
            raise LockError(
                f"data set '{entry.id}', split '{split}' of {entry.source}: {found.rows} rows with content {found.sha256}, "
                f"but {splits[split].rows} rows with content {splits[split].sha256} were locked; find out why, then lock the "
                "new content with --replace (its results are other results)"
            )
        splits[split] = found
    return Lock(source=entry.source, commit=source.commit or commit, columns=columns, splits=splits), problems


if __name__ == "__main__":
    sys.exit(run(main))
