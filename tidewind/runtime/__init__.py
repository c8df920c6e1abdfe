"""What every service is run by: settings, the job ledger, jobs, supervision, health, logs and metrics."""
