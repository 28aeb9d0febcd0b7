"""Gates over new weights: what a candidate must show before a person is asked whether it may serve."""
