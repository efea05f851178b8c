"""The modality ecg for gencore."""
