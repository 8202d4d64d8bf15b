"""The folded program against onnxruntime, operation by operation, teacher-forced."""
