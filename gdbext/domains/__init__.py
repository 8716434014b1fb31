"""What gdbext knows about one stop, a class for each subject: what it reads, its rules, and their inputs."""
