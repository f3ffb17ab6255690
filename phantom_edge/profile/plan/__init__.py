"""What to export for a device, before anything is exported."""
