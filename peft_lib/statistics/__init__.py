"""Statistics on arrays: intervals, paired comparisons, corrections for many tests, power. Knows no plans; never imports torch."""
