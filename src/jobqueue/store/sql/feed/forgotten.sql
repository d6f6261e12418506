-- Read up to which number history may be gone with its weeks; 0: nothing is.
-- tenant:  all, weeks are dropped for everybody
SELECT f.seq
FROM jobqueue.forgotten f
