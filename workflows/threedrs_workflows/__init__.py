"""What people run: grids, plans, the supervisor, reports and the command line."""
