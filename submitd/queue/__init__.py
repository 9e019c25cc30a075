"""The queue: durable stores, the schedule of attempts, delivery."""
