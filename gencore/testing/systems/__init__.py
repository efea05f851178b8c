"""Golden adapters of systems that belong to no modality."""
