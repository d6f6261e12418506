"""Time's door: periodic services that recover, promote, expire, and keep the tables in order."""
