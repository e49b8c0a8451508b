"""Salt executors: what a minion does around the function of a job."""
