"""What a state-space kernel does, known without running the model: poles, ranges, converter noise (semantics.md §1)."""
