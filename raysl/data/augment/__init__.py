"""What a method sees of an image: views, augmentations, and the 1-pixel attack."""
