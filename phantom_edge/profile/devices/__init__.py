"""Devices: the table of their rates, and transports to measure on other machines."""
