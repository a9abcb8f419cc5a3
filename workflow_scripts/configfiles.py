"""Study files that cannot be read, refused before Snakemake reads them: profiles/default calls this."""

import argparse
import sys
from collections.abc import Sequence

from peft_lib.study.loading import read_yaml
from peft_lib.study.problems import StudyError


def refuse_unreadable(arguments: Sequence[str]) -> None:
    """Ends the process with a message if a --configfile among Snakemake's arguments is absent or is no YAML mapping."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", action="extend", default=[], dest="files")
    try:
        files = parser.parse_known_args(arguments)[0].files
        for file in files:
            read_yaml(file)
    except argparse.ArgumentError:
        return  # Snakemake words that
    except StudyError as error:
        sys.exit(str(error))
