"""Time, tasks and batches: what every long-running part is made of."""
