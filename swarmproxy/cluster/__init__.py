"""The view of the whole cluster: what the engines hold and what the store says, kept in memory and never asked twice."""
