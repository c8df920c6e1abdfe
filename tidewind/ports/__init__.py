"""What the services need from the outside, as small protocols. Each says order, idempotence and errors."""
