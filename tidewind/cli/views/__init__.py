"""What the operator sees: pure functions from values of the contract to text. No I/O, no clock."""
