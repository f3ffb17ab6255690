"""What Apple's Neural Engine can take of a package: rules as data, each with its sources."""
