"""Conversations: questions of your own, in the forms of LLaVA and ms-swift."""
