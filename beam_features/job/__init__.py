"""The Beam job: plan, graph, shards, progress, output directory."""
