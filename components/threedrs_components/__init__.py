"""The science: scenes, teachers, students, objectives, training, probes, benchmarks."""
