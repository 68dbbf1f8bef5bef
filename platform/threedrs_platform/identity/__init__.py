"""Who a step is: recipes and their keys, digests of code and of files."""
