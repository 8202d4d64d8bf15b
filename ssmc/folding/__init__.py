"""Between two quantizers: real expressions over codes, the rules that build them, and the operations they become."""
