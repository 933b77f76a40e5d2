"""The shelf of wire formats."""
