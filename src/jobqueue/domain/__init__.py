"""Pure rules of the queue: no I/O, no clock, no asyncio. Times are durations or are handed in; randomness is drawn by the caller."""
