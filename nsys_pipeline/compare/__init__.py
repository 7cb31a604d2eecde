"""Compare runs and stop a regression: numbers of reports by name, rules about them, differences with their noise."""
