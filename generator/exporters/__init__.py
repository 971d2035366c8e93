"""From PyTorch to a format that Triton serves; each exporter is a worker's stage."""
