"""ScanQA: answer a free question about a scene."""
