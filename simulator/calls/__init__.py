"""Call policies, a file each: what a caller or a service does when calls take long, fail or are too many."""
