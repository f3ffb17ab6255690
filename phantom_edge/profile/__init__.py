"""How fast a bundle is on a device, what it takes there, and how much of what the device could do that is."""
