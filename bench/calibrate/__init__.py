"""What `make calibrate` measures: whether drift, policy and their figures keep what is promised of them."""
