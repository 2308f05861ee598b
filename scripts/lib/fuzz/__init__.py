"""Coverage-guided fuzzing with atheris (libFuzzer): targets in tests/fuzz/targets, corpora in tests/fuzz/corpus."""
