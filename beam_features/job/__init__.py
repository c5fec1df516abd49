"""The Beam job: plan, graph, runners, shards, progress."""
