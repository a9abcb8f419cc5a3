"""Rendering: cells in, HTML page, LaTeX appendix, figures, JSON and CSV out. Never imports torch."""
