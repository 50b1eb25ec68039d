"""Windows: the numbers for those who watch a service. Each is one file, and leans on ``stats`` alone."""
