"""Stand-ins for the outside world, held to the same contract suites as the real thing (tests/contracts)."""
