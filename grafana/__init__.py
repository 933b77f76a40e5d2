"""Dashboards, alert rules, and the programs that make and draw them."""
