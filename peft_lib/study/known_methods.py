"""Looking methods up many times: `registry.get_method` reads the folder of methods at each call, a plan has thousands of runs."""

import sys

import peft_lib.methods as package
from peft_lib.methods.method import Method
from peft_lib.methods.registry import get_method


def method_of(method_id: str) -> Method:
    """The method of that id, as `get_method` finds it: a built-in one that has been imported is known without a look at the
    disk (no plug-in can have its id). Raises MethodError if there is none."""
    found = getattr(sys.modules.get(f"{package.__name__}.{method_id}"), "METHOD", None)
    return found if isinstance(found, Method) else get_method(method_id)
