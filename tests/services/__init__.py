"""Real servers and mounts that the tests talk to: a hub, S3, Prometheus, small disks, network volumes."""
