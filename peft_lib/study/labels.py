"""Values of settings as tables and figures write them."""

from typing import Any


def number(value: Any) -> str:
    """A setting as a label: 0.001, 3.16e-05, all, none. Fractions have three digits: values of one `vary` differ in them."""
    if value is None:
        return "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def setting_text(value: Any) -> str:
    """A setting's value as it is shown: options as name = value, yes and no."""
    if isinstance(value, dict):
        return ", ".join(f"{name} = {setting_text(part)}" for name, part in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value)
