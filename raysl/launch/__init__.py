"""Ray Tune schedules the trials, Ray Train runs each one.  The only package that imports ray."""
