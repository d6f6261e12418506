-- Fold count rows into sums.
-- locks:   tally rows SKIP LOCKED
-- tenant:  all, periodic
SELECT jobqueue.fold_tally_v1(@limit) AS rows
