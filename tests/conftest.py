"""What all tests can use."""

pytest_plugins = ["pytester"]
