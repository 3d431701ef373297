"""Label-free criteria: pure functions of features of unlabelled images, or of several views of them."""
