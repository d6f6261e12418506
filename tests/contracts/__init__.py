"""What every implementation of a protocol must do; the suites are mixed into one test class per implementation."""
