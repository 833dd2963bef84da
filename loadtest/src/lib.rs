//! A town of simulated drivers and watchers; the load generator.
