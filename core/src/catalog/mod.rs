//! What the planner must know of one database: keys, defaults, triggers, rules, function volatility, sequences.
