"""Contract tests and fakes, shipped so that components outside this repository can use them."""
