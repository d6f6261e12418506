"""The only SQL of the product: statements in sql/<noun>/<verb>.sql, the tables they stand on, and the pool they run through."""
