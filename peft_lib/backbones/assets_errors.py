"""The error of everything that fetches models."""


class AssetError(ValueError):
    """An asset that cannot be had as the catalog pins it."""
