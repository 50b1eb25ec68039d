"""What a call costs, what a stampede does, what a cache saves: one file per question, run by name.

``python -m benchmarks QUESTION``; ``README.md`` beside this file says how to read the answers.
"""
