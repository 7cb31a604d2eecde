"""What runs under nsys. Only this room imports torch and transformers, and only inside functions.

Nothing is imported here: `auto` is loaded into programs whose environment may hold nothing but the standard library.
"""
