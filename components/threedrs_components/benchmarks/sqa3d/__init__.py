"""SQA3D: answer a question from a described situation in a scene."""
