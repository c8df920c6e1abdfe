"""The real servers of the tests, each a small class with start, stop and an address; fixtures are in
conftest.py."""
