"""The whole way from recordings to a training set, on synthesized recordings with known truth."""
