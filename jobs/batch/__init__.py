"""What `cli run` is made of: a batch file, tasks in order, what is out of date, child processes, state on disk."""
