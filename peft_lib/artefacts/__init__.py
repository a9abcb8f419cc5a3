"""Artefacts: the tables and figures that a study may ask for, one file per kind (kind.py is the contract)."""
