"""The verbs of the product: one function, one transaction."""
