"""The view of the whole cluster: what the engines hold and what the store says, in memory."""
