"""The method family: one file per idea. Importing this package or any of its files never imports torch."""
