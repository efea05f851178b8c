"""Video for gencore: one model whose tasks are masks, real files in and out."""
