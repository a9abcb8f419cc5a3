"""Why a run does not start. (A run that ends early has a status instead: failures.py.)"""


class RunError(RuntimeError):
    """A run that cannot start; the message names what is wrong and the remedy."""
