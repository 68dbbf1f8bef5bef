"""The memory in SQL: journal of steps, runs, results, events, outbox, studies."""
