"""Live streams as whole processes: broken in the middle, held up, and many at once. Each is a program with a target of its own."""
