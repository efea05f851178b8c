"""Files and encodings that several modalities write."""
